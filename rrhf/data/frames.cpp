#include "rrhf/data/frames.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "rrhf/core/error.h"
#include "rrhf/core/unicode.h"

namespace rrhf::data {
namespace {

constexpr std::string_view byte_order_mark = "\xef\xbb\xbf";
constexpr std::size_t longest_row = std::size_t{256} << 20;

// The first byte that is not white space tells how the file is framed.
bool begins_with_array(const std::filesystem::path& path) {
  ByteStream stream(path);
  std::string_view bytes = stream.read();
  if (bytes.starts_with(byte_order_mark)) bytes.remove_prefix(byte_order_mark.size());
  while (true) {
    const std::size_t at = bytes.find_first_not_of(" \t\r\n");
    if (at != std::string_view::npos) return bytes[at] == '[';
    bytes = stream.read();
    if (bytes.empty()) throw_input("data", "{}: the file is empty; it must hold at least one row", path.string());
  }
}

}  // namespace

FrameReader::FrameReader(const std::filesystem::path& path)
    : file_(path.string()), is_array_(begins_with_array(path)), stream_(path), lines_(stream_) {}

double FrameReader::share_read() const {
  const std::size_t size = stream_.size();
  return size == 0 ? 1 : std::min(1.0, static_cast<double>(stream_.consumed()) / static_cast<double>(size));
}

std::optional<Frame> FrameReader::next() { return is_array_ ? next_element() : next_line(); }

std::optional<Frame> FrameReader::next_line() {
  while (const auto line = lines_.next(file_)) {
    if (strip(line->text).empty()) continue;
    Frame frame;
    frame.where = {.file = file_, .row = row_++, .line = static_cast<std::int64_t>(line->number), .byte = 0};
    frame.text = line->text;
    return frame;
  }
  return std::nullopt;
}

std::optional<Frame> FrameReader::next_element() {
  while (queue_.empty() && !ended_) read_elements();
  if (queue_.empty()) return std::nullopt;
  Frame frame = std::move(queue_.front());
  queue_.pop_front();
  return frame;
}

void FrameReader::break_off(std::size_t byte, std::string reason) {
  Frame frame;
  frame.where = {.file = file_, .row = row_, .line = 0, .byte = byte};
  frame.broken = std::move(reason);
  queue_.push_back(std::move(frame));
  ended_ = true;
}

void FrameReader::read_elements() {
  std::string_view bytes = stream_.read();
  if (bytes.empty()) {
    ended_ = true;
    if (!splitter_.finished())
      break_off(skipped_ + splitter_.open_element(), "the file ends inside the array: this row is cut off");
    return;
  }
  if (splitter_.position() == 0 && bytes.starts_with(byte_order_mark)) {
    bytes.remove_prefix(byte_order_mark.size());
    skipped_ = byte_order_mark.size();
  }
  std::vector<ArraySplitter::Element> elements;
  std::optional<JsonSyntax> failure;
  try {
    splitter_.feed(bytes, elements);
  } catch (const JsonSyntax& syntax) {
    failure = syntax;
  }
  for (ArraySplitter::Element& element : elements) {
    Frame frame;
    frame.where = {.file = file_, .row = row_++, .line = 0, .byte = skipped_ + element.byte};
    frame.text = std::move(element.text);
    row_end_ = frame.where.byte + frame.text.size();
    queue_.push_back(std::move(frame));
  }
  if (failure) {
    break_off(skipped_ + failure->byte(), fmt::format("not JSON: {}; nothing after it is read", failure->reason()));
  } else if (skipped_ + splitter_.position() - row_end_ > longest_row) {
    break_off(row_end_, "a row of over 256 MiB; nothing after it is read");
  }
}

}  // namespace rrhf::data
