#include "rrhf/workflow/part_lines.h"

#include <ostream>
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

void require_free_place(const fs::path& out, Existing existing, std::span<const fs::path> inputs) {
  require_writable_file(out, inputs);
  if (existing == Existing::keep && path_exists(out)) {
    throw_input("output", "{}: is there already; --overwrite begins anew", out.string());
  }
}

PartLines::PartLines(const fs::path& out, Json identity, std::size_t rows, Existing existing)
    : out_(out),
      identity_(std::move(identity)),
      existing_(existing),
      lines_(rows),
      part_("output", fs::path(out) += ".part") {
  require_free_place(out_, existing_);  // a run that held the part file until now may have written it
  read();
}

void PartLines::read() {
  const std::vector<std::string> lines = part_.lines();
  std::size_t taken = 1;  // the identity
  try {
    if (lines.size() < 2 || !goes_on_after(parse_json_row(lines[0]))) return;
    while (taken < lines.size() && take(parse_json_row(lines[taken]))) ++taken;
  } catch (const JsonSyntax&) {
    // a line that is not ours: what stands before it counts
  } catch (const Json::exception&) {
    // the same
  }
  if (finished_ > 0) kept_lines_ = taken;
}

// False for a row that there is none of.
bool PartLines::take(const Json& line) {
  const auto row = line.at("row").get<std::size_t>();
  if (row >= lines_.size()) return false;
  std::string& place = lines_[row];
  finished_ += place.empty();
  place = dump_json(line.at("line"));
  return true;
}

// False where what stands there is dropped.
bool PartLines::goes_on_after(const Json& then) const {
  const std::string differing = differing_keys(then, identity_);
  if (differing.empty()) return true;
  if (existing_ == Existing::overwrite) return false;
  throw_input(
      "output",
      "{}: was begun with other settings, so it can't be gone on with (--overwrite drops it and begins anew):{}",
      part().string(), differing);
}

void PartLines::add(std::size_t row, const Json& line) {
  if (!begun_) {
    begun_ = true;
    part_.keep(kept_lines_);
    if (kept_lines_ == 0) part_.add(dump_json(identity_) + "\n");
  }
  lines_[row] = dump_json(line);
  ++finished_;
  part_.add(part_line(row, lines_[row]));
}

void PartLines::complete() {
  if (existing_ == Existing::keep && path_exists(out_)) {
    throw_input("output",
                "{}: has appeared since this run began; what was finished stays in {}, and the same command goes on "
                "from there once it is moved away, or with --overwrite",
                out_.string(), part().string());
  }
  write_file_atomically(out_, [&](std::ostream& out) {
    for (const std::string& line : lines_) out << line << '\n';
  });
  part_.remove();
}

}  // namespace rrhf::workflow
