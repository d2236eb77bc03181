#include "rrhf/core/part_file.h"

#include <cerrno>
#include <cstring>
#include <sstream>
#include <utility>

#include "rrhf/core/error.h"
#include "rrhf/core/file.h"

namespace rrhf {
namespace fs = std::filesystem;
namespace {

std::string to_line(std::size_t row, const Json& result) {
  return dump_json(Json{{"row", row}, {"result", result}}) + "\n";
}

}  // namespace

std::string differing_keys(const Json& then, const Json& now) {
  std::string differing;
  const auto compare = [&](const std::string& key) {
    const auto value = [&](const Json& json) {
      return json.is_object() && json.contains(key) ? json.at(key).dump() : "nothing";
    };
    if (value(then) != value(now)) differing += fmt::format("\n  {}: {} then, {} now", key, value(then), value(now));
  };
  for (const auto& [key, value] : now.items()) compare(key);
  for (const auto& [key, value] : then.items()) {
    if (!now.contains(key)) compare(key);
  }
  return differing;
}

PartFile::PartFile(std::string operation, const fs::path& out, const Json& identity, bool restart)
    : operation_(std::move(operation)), path_(out) {
  path_ += ".part";
  if (restart) fs::remove(path_);
  if (fs::exists(path_)) read(identity);
  std::string kept = dump_json(identity) + "\n";
  for (std::size_t row = 0; row < finished_.size(); ++row) kept += to_line(row, finished_[row]);
  write_file_atomically(path_, kept);
  file_.open(path_, std::ios::app);
  if (!file_) throw_error(operation_, "{}: can't be written: {}", path_.string(), std::strerror(errno));
}

void PartFile::read(const Json& identity) {
  std::istringstream lines(read_file(path_));
  std::string line;
  try {
    std::getline(lines, line);
    require_same(parse_json_row(line), identity);
    while (std::getline(lines, line)) {
      Json json = parse_json_row(line);
      if (!json.is_object() || !json.contains("result") || json.value("row", Json()) != finished_.size()) break;
      finished_.push_back(std::move(json["result"]));
    }
  } catch (const JsonSyntax&) {
    // the torn last line of a run that was killed: what stands before it counts
  }
}

void PartFile::require_same(const Json& then, const Json& now) const {
  const std::string differing = differing_keys(then, now);
  if (differing.empty()) return;
  throw_input(operation_,
              "{}: holds what other work had finished, which can't be gone on with (--restart begins anew):{}",
              path_.string(), differing);
}

void PartFile::add(std::vector<Json> results) {
  for (Json& result : results) {
    file_ << to_line(finished_.size(), result);
    finished_.push_back(std::move(result));
  }
  file_.flush();
  if (!file_) throw_error(operation_, "{}: could not be written: {}", path_.string(), std::strerror(errno));
}

void PartFile::remove() {
  file_.close();
  fs::remove(path_);
}

}  // namespace rrhf
