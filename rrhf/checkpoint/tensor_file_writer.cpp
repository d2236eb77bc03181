#include "rrhf/checkpoint/tensor_file_writer.h"

#include <ATen/ATen.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <future>
#include <optional>
#include <span>

#include "rrhf/checkpoint/dtypes.h"
#include "rrhf/checkpoint/shape_text.h"
#include "rrhf/core/aside.h"
#include "rrhf/core/error.h"
#include "rrhf/format/safetensors.h"

namespace rrhf::checkpoint {
namespace {

// Bytes handed to the system at once.
constexpr std::int64_t piece_bytes = std::int64_t{16} << 20;
// Bytes converted at once: still in the processor's cache when written.
constexpr std::int64_t converted_bytes = std::int64_t{2} << 20;

std::span<const std::byte> bytes_of(const at::Tensor& contiguous) {
  return {static_cast<const std::byte*>(contiguous.const_data_ptr()), contiguous.nbytes()};
}

}  // namespace

std::int64_t TensorSpec::numel() const {
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) count *= extent;
  return count;
}

std::int64_t TensorSpec::bytes() const { return numel() * static_cast<std::int64_t>(at::elementSize(dtype)); }

struct TensorFileWriter::State {
  std::filesystem::path path;
  std::vector<TensorSpec> tensors;
  std::optional<Sha256> hash;
  std::future<void> hashing;  // of what was written last; its destructor waits
  int file = -1;
  std::int64_t written = 0;   // bytes
  std::size_t current = 0;    // index of the tensor under way
  std::int64_t elements = 0;  // of it, written so far

  ~State() {
    if (file >= 0) ::close(file);
  }

  [[noreturn]] void fail(const char* what) const {
    throw_error("checkpoint", "{}: could not be {}: {}", without_aside(path).string(), what, std::strerror(errno));
  }

  void create(std::string_view header, std::int64_t size) {
    file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (file < 0) fail("created");
    // A full disk is better known now than after an hour. Not every file system can tell.
    if (::fallocate(file, FALLOC_FL_KEEP_SIZE, 0, size) != 0 && errno == ENOSPC) fail("given its room");
    write(std::as_bytes(std::span(header)));
    wait_for_hash();  // the header is the caller's
  }

  // Hashing goes on after the call; `owner` keeps the bytes alive for it.
  void write(std::span<const std::byte> bytes, at::Tensor owner = {}) {
    wait_for_hash();
    if (hash) hashing = std::async(std::launch::async, [this, bytes, owner] { hash->update(bytes); });
    for (; !bytes.empty(); bytes = bytes.subspan(std::min<std::size_t>(bytes.size(), piece_bytes))) {
      write_to_file(bytes.first(std::min<std::size_t>(bytes.size(), piece_bytes)));
    }
  }

  void wait_for_hash() {
    if (hashing.valid()) hashing.get();
  }

  void write_to_file(std::span<const std::byte> bytes) {
    const std::int64_t begin = written;
    while (!bytes.empty()) {
      const ssize_t count = ::write(file, bytes.data(), bytes.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) fail("written");
      written += count;
      bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
    // The disk begins now, so that the sync at the end finds little left to do.
    ::sync_file_range(file, begin, written - begin, SYNC_FILE_RANGE_WRITE);
  }

  const TensorSpec& spec() const {
    if (current == tensors.size()) throw_error("checkpoint", "{}: all tensors are written already", path.string());
    return tensors[current];
  }

  // Takes note of elements written; a finished tensor gives way to the next.
  void count(std::int64_t more) {
    elements += more;
    if (elements < tensors[current].numel()) return;
    ++current;
    elements = 0;
  }
};

TensorFileWriter::TensorFileWriter(const std::filesystem::path& path, std::vector<TensorSpec> tensors, bool sha256,
                                   const std::map<std::string, std::string>& metadata)
    : state_(std::make_unique<State>()) {
  std::vector<format::SafetensorsSpec> specs;
  std::int64_t size = 0;
  for (const TensorSpec& tensor : tensors) {
    specs.push_back({tensor.name, std::string(dtype_word(tensor.dtype)), tensor.shape});
    size += tensor.bytes();
  }
  const std::string header = format::safetensors_header(specs, metadata);
  state_->path = path;
  state_->tensors = std::move(tensors);
  if (sha256) state_->hash.emplace();
  state_->create(header, size + std::ssize(header));
}

TensorFileWriter::~TensorFileWriter() = default;
TensorFileWriter::TensorFileWriter(TensorFileWriter&&) noexcept = default;
TensorFileWriter& TensorFileWriter::operator=(TensorFileWriter&&) noexcept = default;

void TensorFileWriter::write(const at::Tensor& tensor) {
  const TensorSpec& spec = state_->spec();
  if (state_->elements != 0 || tensor.sizes() != at::IntArrayRef(spec.shape)) {
    throw_error("checkpoint", "{}: {} is given as {}, {} was announced", state_->path.string(), spec.name,
                shape_text(tensor.sizes()), shape_text(spec.shape));
  }
  if (tensor.numel() == 0) return state_->count(0);
  const bool as_it_lies = tensor.is_cpu() && tensor.is_contiguous() && tensor.scalar_type() == spec.dtype;
  if (as_it_lies || tensor.dim() == 0) return write_part(tensor);
  const std::int64_t row_bytes = spec.bytes() / tensor.size(0);
  const std::int64_t step = std::max<std::int64_t>(1, converted_bytes / row_bytes);
  for (std::int64_t row = 0; row < tensor.size(0); row += step) {
    write_part(tensor.narrow(0, row, std::min(step, tensor.size(0) - row)));
  }
}

void TensorFileWriter::write_part(const at::Tensor& part) {
  const TensorSpec& spec = state_->spec();
  if (state_->elements + part.numel() > spec.numel()) {
    throw_error("checkpoint", "{}: {} is given more elements than {} has", state_->path.string(), spec.name,
                shape_text(spec.shape));
  }
  const at::Tensor plain = part.to(at::kCPU, spec.dtype).contiguous();
  state_->write(bytes_of(plain), plain);
  state_->count(part.numel());
}

bool TensorFileWriter::complete() const noexcept { return state_->current == state_->tensors.size(); }

FileHash TensorFileWriter::finish() {
  if (!complete()) {
    throw_error("checkpoint", "{}: {} was announced and not written", state_->path.string(), state_->spec().name);
  }
  state_->wait_for_hash();
  // Synced by the process that wrote it: on a file system of several machines, another one's sync of the same file
  // leaves what is still in this machine's memory there.
  if (::fsync(state_->file) != 0) state_->fail("written to disk");
  if (::close(std::exchange(state_->file, -1)) != 0) state_->fail("written");
  return {.name = state_->path.filename().string(),
          .bytes = state_->written,
          .sha256 = state_->hash ? state_->hash->hex() : ""};
}

}  // namespace rrhf::checkpoint
