#include "rrhf/core/sha256.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "rrhf/core/error.h"

namespace rrhf {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t piece_bytes = std::size_t{256} << 10;  // copied and hashed within the processor's cache

void require(int success) {
  if (success != 1) throw_error("sha256", "libcrypto does not offer SHA-256 here");
}

// Thrown through sha256_of_file() by a hashing that nobody waits for any more.
struct Stopped {};

}  // namespace

struct Sha256::State {
  struct Free {
    void operator()(EVP_MD_CTX* context) const noexcept { EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> context{EVP_MD_CTX_new()};
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  require(state_->context != nullptr && EVP_DigestInit_ex(state_->context.get(), EVP_sha256(), nullptr));
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(std::span<const std::byte> bytes) {
  require(EVP_DigestUpdate(state_->context.get(), bytes.data(), bytes.size()));
}

std::string Sha256::hex() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  require(EVP_DigestFinal_ex(state_->context.get(), digest.data(), &size));
  std::string text;
  for (unsigned int i = 0; i < size; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

std::string sha256_of(std::string_view text) {
  Sha256 hash;
  hash.update(std::as_bytes(std::span(text)));
  return hash.hex();
}

std::string sha256_of_file(const fs::path& path, const std::function<void(std::int64_t)>& on_bytes) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) throw_input("file", "{}: {}", path.string(), std::strerror(errno));
  struct Closer {
    int file;
    ~Closer() { ::close(file); }
  } closer{file};
  ::posix_fadvise(file, 0, 0, POSIX_FADV_SEQUENTIAL);
  Sha256 hash;
  std::vector<std::byte> piece(piece_bytes);
  while (true) {
    const ssize_t count = ::read(file, piece.data(), piece.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw_input("file", "{}: could not be read: {}", path.string(), std::strerror(errno));
    if (count == 0) return hash.hex();
    hash.update({piece.data(), static_cast<std::size_t>(count)});
    if (on_bytes) on_bytes(count);
  }
}

std::vector<FileHash> file_sizes(const std::vector<fs::path>& files) {
  std::vector<FileHash> sizes;
  for (const fs::path& path : files) {
    std::error_code failure;
    const auto bytes = static_cast<std::int64_t>(fs::file_size(path, failure));
    if (failure) throw_input("file", "{}: {}", path.string(), failure.message());
    sizes.push_back({.name = path.filename().string(), .bytes = bytes, .sha256 = {}});
  }
  return sizes;
}

FileHashing::FileHashing(std::vector<fs::path> files) : files_(std::move(files)), hashes_(file_sizes(files_)) {
  for (const FileHash& file : hashes_) total_ += file.bytes;
  thread_ = std::thread([this] { run(); });
}

FileHashing::~FileHashing() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
}

void FileHashing::run() {
  try {
    for (std::size_t i = 0; i < files_.size(); ++i) {
      hashes_[i].sha256 = sha256_of_file(files_[i], [&](std::int64_t bytes) {
        done_ += bytes;
        if (stop_) throw Stopped{};
      });
    }
  } catch (const Stopped&) {
  } catch (...) {
    failure_ = std::current_exception();
  }
  finished_ = true;
}

const std::vector<FileHash>& FileHashing::wait() {
  if (thread_.joinable()) thread_.join();
  if (failure_) std::rethrow_exception(failure_);
  return hashes_;
}

}  // namespace rrhf
