// SHA-256 (FIPS 180-4), on OpenSSL's libcrypto, which uses the processor's SHA instructions where there are any.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace rrhf {

/// A hash over bytes that arrive piece by piece. Movable; one thread at a time.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void update(std::span<const std::byte> bytes);

  /// The hash in lower-case hex. Ends it: nothing may follow.
  std::string hex();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// The hash of a text.
std::string sha256_of(std::string_view text);

/// The hash of a file, read from its start in small pieces. `on_bytes` is told how many bytes each piece had; it
/// may throw to stop. Throws InputError when the file can't be read.
std::string sha256_of_file(const std::filesystem::path& path, const std::function<void(std::int64_t)>& on_bytes = {});

/// What identifies a file's content.
struct FileHash {
  std::string name;  ///< without its folder
  std::int64_t bytes = 0;
  std::string sha256;  ///< lower-case hex; empty where no hash was asked for

  bool operator==(const FileHash&) const = default;
};

/// Names and sizes, without hashes. Throws InputError when a file is missing.
std::vector<FileHash> file_sizes(const std::vector<std::filesystem::path>& files);

/// Hashes files one after the other on a thread of its own, beside other work on the same files.
/// The destructor stops it. Not movable.
class FileHashing {
 public:
  /// Throws InputError when a file is missing.
  explicit FileHashing(std::vector<std::filesystem::path> files);
  ~FileHashing();
  FileHashing(const FileHashing&) = delete;
  FileHashing& operator=(const FileHashing&) = delete;

  std::int64_t bytes_total() const noexcept { return total_; }
  std::int64_t bytes_done() const noexcept { return done_; }
  bool finished() const noexcept { return finished_; }

  /// Waits for the end; the files in the order given. Throws InputError when one could not be read.
  const std::vector<FileHash>& wait();

 private:
  void run();

  std::vector<std::filesystem::path> files_;
  std::vector<FileHash> hashes_;
  std::int64_t total_ = 0;
  std::atomic<std::int64_t> done_ = 0;
  std::atomic<bool> finished_ = false;
  std::atomic<bool> stop_ = false;
  std::exception_ptr failure_;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace rrhf
