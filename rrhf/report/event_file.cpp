#include "rrhf/report/event_file.h"

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>

#include "rrhf/core/file.h"

namespace rrhf::report {
namespace {

namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little, "frames and numbers of the messages are little-endian");

template <class T>
std::string bytes_of(T value) {
  const auto bytes = std::bit_cast<std::array<char, sizeof(T)>>(value);
  return {bytes.begin(), bytes.end()};
}

std::string varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(0x80 | (value & 0x7f));
  return bytes + static_cast<char>(value);
}

// A field of a protocol buffer's message, by the kind of its value.
enum class Wire : std::uint8_t { varint = 0, eight_bytes = 1, length = 2, four_bytes = 5 };

std::string field(int number, Wire wire, const std::string& value) {
  const std::string key = varint(static_cast<std::uint64_t>(number) << 3 | static_cast<std::uint64_t>(wire));
  return key + (wire == Wire::length ? varint(value.size()) : "") + value;
}

std::string framed(const std::string& data) {
  const auto masked = [](std::string_view bytes) {
    const std::uint32_t crc = crc32c(bytes);
    return bytes_of(std::rotr(crc, 15) + 0xa282ead8u);
  };
  const std::string length = bytes_of(std::uint64_t{data.size()});
  return length + masked(length) + data + masked(data);
}

std::string event(double time, const std::string& rest) {
  return framed(field(1, Wire::eight_bytes, bytes_of(time)) + rest);
}

// "timing/seconds" of "timing.seconds": TensorBoard groups by what stands before a slash.
std::string tag_of(std::string name) {
  std::ranges::replace(name, '.', '/');
  return name;
}

std::string summary_of(const Row& row) {
  std::string summary;
  for (const auto& [name, value] : row.values) {
    if (name == "step") continue;
    summary +=
        field(1, Wire::length,
              field(1, Wire::length, tag_of(name)) + field(2, Wire::four_bytes, bytes_of(static_cast<float>(value))));
  }
  return summary;
}

// When the run's last line was written, in seconds since 1970.
double time_of(const fs::path& file) {
  std::error_code failure;
  const auto written = fs::last_write_time(file, failure);
  if (failure) return 0;
  const auto system = std::chrono::file_clock::to_sys(written).time_since_epoch();
  return std::chrono::duration<double>(system).count();
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  static constexpr std::array<std::uint32_t, 256> of_byte = [] {
    constexpr std::uint32_t polynomial = 0x82f63b78;  // its bits in reverse
    std::array<std::uint32_t, 256> table{};
    for (std::uint32_t byte = 0; byte < table.size(); ++byte) {
      table[byte] = byte;
      for (int bit = 0; bit < 8; ++bit) {
        table[byte] = (table[byte] >> 1) ^ ((table[byte] & 1) != 0 ? polynomial : 0);
      }
    }
    return table;
  }();
  std::uint32_t crc = ~0u;
  for (const char byte : bytes) crc = (crc >> 8) ^ of_byte[(crc ^ static_cast<unsigned char>(byte)) & 0xff];
  return ~crc;
}

std::string event_file(std::span<const TimedRow> rows) {
  std::string file = event(rows.empty() ? 0 : rows.front().time, field(3, Wire::length, "brain.Event:2"));
  for (const TimedRow& row : rows) {
    const std::string step = varint(static_cast<std::uint64_t>(row.row->step));
    file += event(row.time, field(2, Wire::varint, step) + field(5, Wire::length, summary_of(*row.row)));
  }
  return file;
}

RowTimes times_of(const RunRecord& run, double end) {
  RowTimes times;
  for (const Row& row : run.steps) times.steps.push_back({&row});
  for (const Row& row : run.evaluations) times.evaluations.push_back({&row});
  // Back from the end; an evaluation comes after the step it has the number of.
  auto step = times.steps.rbegin();
  auto evaluation = times.evaluations.rbegin();
  while (step != times.steps.rend() || evaluation != times.evaluations.rend()) {
    const bool evaluates = step == times.steps.rend() ||
                           (evaluation != times.evaluations.rend() && evaluation->row->step >= step->row->step);
    TimedRow& last = evaluates ? *evaluation++ : *step++;
    last.time = end;
    end -= last.row->value("timing.seconds").value_or(0);
  }
  return times;
}

void write_event_files(std::span<const RunRecord> runs, const fs::path& folder) {
  for (const RunRecord& run : runs) {
    const RowTimes times = times_of(run, time_of(run.folder / "metrics.jsonl"));
    for (const auto& [part, rows] : {std::pair("train", &times.steps), std::pair("eval", &times.evaluations)}) {
      if (rows->empty()) continue;
      const fs::path into = folder / fs::path(run.name).relative_path() / part;
      make_writable_folder(into);
      write_file_atomically(into / "events.out.tfevents.0.rrhf", event_file(*rows));
    }
  }
}

}  // namespace rrhf::report
