#include "rrhf/workflow/part_lines.h"

#include <cerrno>
#include <cstring>
#include <sstream>
#include <utility>

#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/part_file.h"

namespace rrhf::workflow {
namespace fs = std::filesystem;
namespace {

std::string part_line(std::size_t row, const std::string& line) {
  return fmt::format("{{\"row\":{},\"line\":{}}}\n", row, line);
}

}  // namespace

void require_free_place(const fs::path& out, Existing existing) {
  require_writable_file(out);
  if (existing == Existing::keep && path_exists(out)) {
    throw_input("output", "{}: is there already; --overwrite begins anew", out.string());
  }
}

PartLines::PartLines(const fs::path& out, Json identity, std::size_t rows, Existing existing)
    : out_(out), part_(out), identity_(std::move(identity)), lines_(rows) {
  part_ += ".part";
  if (fs::exists(part_)) read(existing);
}

void PartLines::read(Existing existing) {
  std::istringstream lines(read_file(part_));
  std::string line;
  Json then;
  try {
    if (std::getline(lines, line)) then = parse_json_row(line);
    while (std::getline(lines, line)) {
      if (finished_ == 0) {
        if (existing == Existing::overwrite && !differing_keys(then, identity_).empty()) return;
        require_same(then);
      }
      const Json json = parse_json_row(line);
      const auto row = json.at("row").get<std::size_t>();
      if (row >= lines_.size()) break;
      std::string& place = lines_[row];
      finished_ += place.empty();
      place = dump_json(json.at("line"));
    }
  } catch (const JsonSyntax&) {
    // the torn last line of a run that was killed
  } catch (const Json::exception&) {
    // a line that is not ours: what stands before it counts
  }
}

// What an earlier run left is rewritten, so that no torn line stands in the middle.
void PartLines::open() {
  write_file_atomically(part_, [&](std::ostream& part) {
    part << dump_json(identity_) << '\n';
    for (std::size_t row = 0; row < lines_.size(); ++row) {
      if (has(row)) part << part_line(row, lines_[row]);
    }
  });
  file_.open(part_, std::ios::app);
}

void PartLines::require_same(const Json& then) const {
  const std::string differing = differing_keys(then, identity_);
  if (differing.empty()) return;
  throw_input(
      "output",
      "{}: was begun with other settings, so it can't be gone on with (--overwrite drops it and begins anew):{}",
      part_.string(), differing);
}

void PartLines::add(std::size_t row, const Json& line) {
  if (!file_.is_open()) open();
  lines_[row] = dump_json(line);
  ++finished_;
  file_ << part_line(row, lines_[row]) << std::flush;
  if (!file_) throw_error("output", "{}: could not be written: {}", part_.string(), std::strerror(errno));
}

void PartLines::complete() {
  write_file_atomically(out_, [&](std::ostream& out) {
    for (const std::string& line : lines_) out << line << '\n';
  });
  file_.close();
  fs::remove(part_);
}

}  // namespace rrhf::workflow
