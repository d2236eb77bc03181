#include "rrhf/data/reader.h"

#include <fmt/format.h>

#include <deque>

#include "rrhf/core/error.h"
#include "rrhf/core/unicode.h"
#include "rrhf/data/frames.h"
#include "rrhf/data/layout.h"
#include "rrhf/data/row_checks.h"

namespace rrhf::data {
namespace {

// How far to look for the first row that shows the layout: the rows before it may be broken.
constexpr std::size_t rows_looked_at = 64;
constexpr std::size_t bytes_looked_at = std::size_t{8} << 20;

std::string syntax_message(const JsonSyntax& syntax, const RowLocation& where) {
  const std::string reason = shorten(syntax.reason(), 120);
  if (where.line > 0) return fmt::format("not JSON: {} (byte {} of the line)", reason, syntax.byte());
  return fmt::format("not JSON: {} (byte {} of the row)", reason, syntax.byte());
}

}  // namespace

struct RowReader::State {
  State(const std::filesystem::path& path, DataFormat format, ResponseChoice chosen)
      : frames(path), file(path.string()), responses(chosen) {
    choose_layout(format);
  }

  void choose_layout(DataFormat format);
  bool spread_over_lines() const;
  std::optional<Frame> next_frame();
  ReadRow parse(const Frame& frame) const;
  void parse_into(const Frame& frame, ReadRow& row) const;

  FrameReader frames;
  std::deque<Frame> looked_at;
  std::string file;
  ResponseChoice responses;
  const Layout* layout = nullptr;
  std::string layout_name;
};

void RowReader::State::choose_layout(DataFormat format) {
  layout = only_layout(format);
  std::string first_seen;
  std::size_t bytes = 0;
  while (layout == nullptr && looked_at.size() < rows_looked_at && bytes < bytes_looked_at) {
    std::optional<Frame> frame = frames.next();
    if (!frame) break;
    bytes += frame->text.size();
    std::string seen = frame->broken;
    if (seen.empty()) {
      try {
        const Json row = parse_json_row(frame->text);
        layout = find_layout(row, format);
        seen = row.is_object() ? "it has the keys " + list_keys(row) : "it is " + shorten(describe(row), 60);
      } catch (const JsonSyntax& syntax) {
        seen = syntax_message(syntax, frame->where);
      }
    }
    if (first_seen.empty()) first_seen = fmt::format("{}: {}", frame->where.within_file(), seen);
    looked_at.push_back(std::move(*frame));
  }
  if (layout == nullptr) {
    if (first_seen.empty()) throw_input("data", "{}: the array is empty; it must hold at least one row", file);
    if (spread_over_lines()) {
      throw_input("data",
                  "{}: an object begins here and goes on over several lines; a row must stand on one line, or the rows "
                  "in one array [...]",
                  looked_at.front().where.text());
    }
    const bool more = looked_at.size() == rows_looked_at || bytes >= bytes_looked_at;
    throw_input("data", "{}: no row of a known layout{}. {}. {} (data.format, name, keys):\n{}", file,
                more ? fmt::format(" among the first {}", looked_at.size()) : "", first_seen,
                format == DataFormat::automatic ? "Known layouts" : "Layouts of this data.format",
                list_layouts(format));
  }
  layout_name = describe_layout(*layout, frames.is_array());
}

// Pretty-printed JSON without an array around it.
bool RowReader::State::spread_over_lines() const {
  return !frames.is_array() && !looked_at.empty() && strip(looked_at.front().text) == "{";
}

std::optional<Frame> RowReader::State::next_frame() {
  if (looked_at.empty()) return frames.next();
  Frame frame = std::move(looked_at.front());
  looked_at.pop_front();
  return frame;
}

void RowReader::State::parse_into(const Frame& frame, ReadRow& row) const {
  const auto add = [&](Severity severity, std::string message) {
    row.problems.push_back({severity, frame.where, std::move(message)});
  };
  if (!frame.broken.empty()) return add(Severity::error, frame.broken);
  const Json json = parse_json_row(frame.text);
  if (!json.is_object()) {
    return add(Severity::error, fmt::format("the row is {}; an object is needed", shorten(describe(json), 60)));
  }
  RowFields fields(json);
  RankedExample example;
  layout->parse(fields, example);
  for (std::string& mistake : std::move(fields).mistakes()) add(Severity::error, std::move(mistake));
  if (!row.problems.empty()) return;
  for (RowWarning& warning : row_warnings(example, responses)) {
    row.problems.push_back({Severity::warning, frame.where, std::move(warning.text), warning.of_pairs});
  }
  example.where = frame.where;
  row.example = std::move(example);
}

ReadRow RowReader::State::parse(const Frame& frame) const {
  ReadRow row;
  row.where = frame.where;
  try {
    parse_into(frame, row);
  } catch (const JsonSyntax& syntax) {
    row.problems.push_back({Severity::error, frame.where, syntax_message(syntax, frame.where)});
  }
  return row;
}

RowReader::RowReader(const std::filesystem::path& path, DataFormat format, ResponseChoice responses)
    : state_(std::make_unique<State>(path, format, responses)) {}

RowReader::~RowReader() = default;
RowReader::RowReader(RowReader&&) noexcept = default;
RowReader& RowReader::operator=(RowReader&&) noexcept = default;

std::optional<ReadRow> RowReader::next() {
  const std::optional<Frame> frame = state_->next_frame();
  if (!frame) return std::nullopt;
  return state_->parse(*frame);
}

const std::string& RowReader::layout() const noexcept { return state_->layout_name; }

double RowReader::share_read() const { return state_->frames.share_read(); }

}  // namespace rrhf::data
