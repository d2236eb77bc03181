// The state dicts that torch.save writes since PyTorch 1.6: a zip of stored (never compressed) members, among them
// NAME/data.pkl, a pickle (protocol 2) of a dict of tensors, and NAME/data/KEY, the raw bytes of each storage
// (torch/serialization.py; caffe2/serialize/inline_container.h).
//
// Free of torch. Nothing in a file is ever executed: the pickle is read by a small machine of its own that knows the
// opcodes and globals a state dict needs (format/pickle.h) and refuses every other by name. No allocation is larger
// than the file warrants, whatever it claims.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "rrhf/format/zip.h"

namespace rrhf::format {

/// One tensor of an archive. Several may share a storage, overlap in it, or walk through it in any order.
struct TorchEntry {
  std::string name;   ///< its key in the state dict
  std::string dtype;  ///< as safetensors spells it: "F32", "BF16", "F16", "F64", "I64", ...
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> strides;  ///< in elements, never negative
  std::size_t storage = 0;            ///< index into TorchArchive::storages
  std::int64_t offset = 0;            ///< of the first element in the storage, in elements

  std::int64_t numel() const;
  /// Elements of the storage from the first that the tensor touches to the last, 0 for a tensor without elements.
  std::int64_t extent() const;
};

struct TorchArchive {
  std::vector<TorchEntry> tensors;  ///< in the order of the dict
  std::vector<ZipMember> storages;  ///< each that a tensor uses once; little endian, in place
  bool has_checksums = true;        ///< false where torch.serialization.set_crc32_options(False) left them out (all 0)
};

/// Reads an archive and checks every claim in it, the CRC-32 of data.pkl included. Those of the storages take a pass
/// over the whole file: verify_member() of each, where has_checksums. `where` names the file in messages.
/// Throws InputError for a legacy file (tar or bare pickle of PyTorch before 1.6: named as such, with the way out), a
/// broken zip, a compressed or encrypted member (as in TorchScript programs), big-endian storages, an opcode or global
/// that is not on the list (named), a value that is not a dict of tensors (nested dicts such as {"state_dict": ...} are
/// named), a name that stands twice, storages that are missing or too small, and views beyond their storage or of more
/// elements than it has (a broadcast of one number may claim any size). The result is valid while `bytes` is.
TorchArchive parse_torch_archive(std::span<const std::byte> bytes, std::string_view where);

}  // namespace rrhf::format
