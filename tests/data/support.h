// Files for the data tests: written into a folder that goes away, plain or compressed; and where real data are.
#pragma once

#include <gtest/gtest.h>
#include <zlib.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "rrhf/core/error.h"
#include "rrhf/data/all_rows.h"
#include "rrhf/data/reader.h"
#include "tests/core/support.h"

namespace rrhf::data::testing {

/// A folder that lives as long as the object.
class ScratchFolder : public rrhf::testing::TemporaryFolder {
 public:
  std::filesystem::path write_gzip(std::string_view name, std::string_view content) const {
    const auto path = this->path() / name;
    gzFile file = ::gzopen(path.c_str(), "wb");
    ::gzwrite(file, content.data(), static_cast<unsigned>(content.size()));
    ::gzclose(file);
    return path;
  }
};

/// Real data: $RRHF_SHARED, else ../shared beside the source folder.
inline std::filesystem::path shared(std::string_view name) {
  const char* given = std::getenv("RRHF_SHARED");
  const std::filesystem::path folder =
      given != nullptr ? std::filesystem::path(given) : std::filesystem::path(RRHF_SOURCE_DIR).parent_path() / "shared";
  return folder / name;
}

inline std::vector<ReadRow> read_rows(const std::filesystem::path& path, DataFormat format = DataFormat::automatic) {
  RowReader reader(path, format);
  std::vector<ReadRow> rows;
  while (auto row = reader.next()) rows.push_back(std::move(*row));
  return rows;
}

/// All usable rows of a file. Fails where one is not.
inline std::vector<RankedExample> usable_rows(const std::filesystem::path& path) {
  std::vector<RankedExample> rows;
  visit_rows({path}, {}, [&](const RankedExample& row) { rows.push_back(row); });
  return rows;
}

/// "error: ..." and "warning: ..." of one row.
inline std::vector<std::string> messages(const ReadRow& row) {
  std::vector<std::string> lines;
  for (const Problem& problem : row.problems) {
    lines.push_back((problem.severity == Severity::error ? "error: " : "warning: ") + problem.message);
  }
  return lines;
}

/// The message of the InputError that `action` throws, or "" when it throws none.
template <class Action>
std::string input_error(Action action) {
  try {
    action();
  } catch (const InputError& failure) {
    return failure.what();
  }
  return "";
}

}  // namespace rrhf::data::testing

/// In a fixture's SetUp or a test: skips when a file of the real data is absent.
#define RRHF_NEED_SHARED(name)                                                                              \
  if (!std::filesystem::exists(rrhf::data::testing::shared(name))) {                                        \
    GTEST_SKIP() << "needs " << rrhf::data::testing::shared(name) << " (RRHF_SHARED names another folder)"; \
  }
