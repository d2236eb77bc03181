#include "rrhf/core/part_file.h"

#include <utility>

#include "rrhf/core/error.h"

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
    : operation_(std::move(operation)), file_(operation_, fs::path(out) += ".part") {
  if (!restart) read(identity);
  file_.keep(finished_.empty() ? 0 : 1 + finished_.size());
  if (finished_.empty()) file_.add(dump_json(identity) + "\n");
}

void PartFile::read(const Json& identity) {
  const std::vector<std::string> lines = file_.lines();
  try {
    if (!lines.empty()) require_same(parse_json_row(lines[0]), identity);
    for (std::size_t i = 1; i < lines.size(); ++i) {
      Json json = parse_json_row(lines[i]);
      if (!json.is_object() || !json.contains("result") || json.value("row", Json()) != finished_.size()) break;
      finished_.push_back(std::move(json["result"]));
    }
  } catch (const JsonSyntax&) {
    // a line that is not ours: what stands before it counts
  }
}

void PartFile::require_same(const Json& then, const Json& now) const {
  const std::string differing = differing_keys(then, now);
  if (differing.empty()) return;
  throw_input(operation_,
              "{}: holds what other work had finished, which can't be gone on with (--restart begins anew):{}",
              file_.path().string(), differing);
}

void PartFile::add(std::vector<Json> results) {
  std::string lines;
  for (Json& result : results) {
    lines += to_line(finished_.size(), result);
    finished_.push_back(std::move(result));
  }
  file_.add(lines);
}

void PartFile::remove() { file_.remove(); }

}  // namespace rrhf
