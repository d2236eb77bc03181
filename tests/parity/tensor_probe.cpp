// tensor_probe PATH
//
// A line of JSON for each tensor of a checkpoint, in the order of its TensorSource: name, dtype, shape, the file it
// stands in, and the CRC-32 of its elements in row-major order. What tests/parity compares with what torch reads.

#include <ATen/ATen.h>
#include <zlib.h>

#include <cstdio>

#include "rrhf/checkpoint/dtypes.h"
#include "rrhf/checkpoint/tensor_source.h"
#include "rrhf/core/error.h"
#include "rrhf/core/json.h"

namespace {

using namespace rrhf;

void print(const checkpoint::TensorSource& source, const checkpoint::TensorInfo& info) {
  const at::Tensor tensor = source.tensor(info).contiguous();
  const auto* bytes = static_cast<const unsigned char*>(tensor.const_data_ptr());
  const Json line = {{"name", info.name},
                     {"dtype", checkpoint::dtype_word(info.dtype)},
                     {"shape", info.shape},
                     {"file", source.files()[info.file].filename().string()},
                     {"crc32", ::crc32_z(0, bytes, tensor.nbytes())}};
  std::printf("%s\n", dump_json(line).c_str());
  source.release(info);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  try {
    const checkpoint::TensorSource source(argv[1]);
    for (const checkpoint::TensorInfo& info : source.tensors()) print(source, info);
    return 0;
  } catch (const Error& failure) {
    std::fprintf(stderr, "%s\n", failure.what());
    return failure.exit_code();
  }
}
