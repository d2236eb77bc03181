// Any bytes as a file of ranked rows, plain or compressed, in any layout: refused, rows with problems, or examples that
// keep what the reader promises.
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>

#include "rrhf/core/unicode.h"
#include "rrhf/data/reader.h"
#include "tests/fuzz/fuzz.h"

namespace {

// Readers open files by name; this one never touches a disk.
class MemoryFile {
 public:
  MemoryFile() : descriptor_(::memfd_create("fuzz", MFD_CLOEXEC)) {}

  std::string path() const { return fmt::format("/proc/self/fd/{}", descriptor_); }

  void hold(std::span<const std::byte> bytes) const {
    rrhf::testing::require(::ftruncate(descriptor_, 0) == 0, "the file can be emptied");
    const auto written = ::pwrite(descriptor_, bytes.data(), bytes.size(), 0);
    rrhf::testing::require(written == static_cast<ssize_t>(bytes.size()), "the file can be filled");
  }

 private:
  int descriptor_;
};

void check(const rrhf::data::RankedExample& row) {
  using rrhf::testing::require;
  require(!row.responses.empty() && row.responses.size() == row.scores.size(), "a score for every response");
  require(row.writers.empty() || row.writers.size() == row.responses.size(), "a writer for every response");
  for (const double score : row.scores) require(std::isfinite(score), "scores are finite");
  for (const std::string& text : row.responses) {
    require(rrhf::find_invalid_utf8(text) == std::string_view::npos, "texts are UTF-8");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const MemoryFile file;
  return rrhf::testing::fuzz_one(data, size, [](std::span<const std::byte> bytes) {
    file.hold(bytes);
    rrhf::data::RowReader reader(file.path(), rrhf::DataFormat::automatic);
    std::int64_t number = 0;
    while (const auto row = reader.next()) {
      rrhf::testing::require(row->where.row == number++, "rows are numbered one after the other");
      rrhf::testing::require(row->example || !row->problems.empty(), "a row that can't be used has a problem");
      if (row->example) check(*row->example);
    }
  });
}
