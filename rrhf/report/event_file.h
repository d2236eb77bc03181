// TensorBoard's event files: TFRecord frames (length, its masked CRC-32C, data, the data's masked CRC-32C; tensorflow,
// core/lib/io/record_writer.h) around Event messages (core/util/event.proto: 1 wall_time, 2 step, 3 file_version,
// 5 summary; core/framework/summary.proto: value 1 { tag 1, simple_value 2 }).
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "rrhf/report/report.h"

namespace rrhf::report {

/// Event files of the runs, for `tensorboard --logdir FOLDER`: FOLDER/RUN/train with the values of the steps and
/// FOLDER/RUN/eval with those of the evaluations, tags alike ("loss", "groups/names/loss"). A file that is there is
/// replaced, which a TensorBoard that has it open does not see.
/// Throws InputError when the folder can't be written into.
void write_event_files(std::span<const RunRecord> runs, const std::filesystem::path& folder);

/// A row and when it was written, in seconds since 1970.
struct TimedRow {
  const Row* row = nullptr;
  double time = 0;
};

/// The rows of a run, which it must outlive.
struct RowTimes {
  std::vector<TimedRow> steps, evaluations;
};

/// Rows hold no time of day, but how long each took: they are counted back from the end, the time of the last one. What
/// lies between rows (checkpoints, a stop) is left out.
RowTimes times_of(const RunRecord& run, double end);

/// The bytes of an event file.
std::string event_file(std::span<const TimedRow> rows);

/// CRC-32C (Castagnoli; RFC 3720, appendix B.4).
std::uint32_t crc32c(std::string_view bytes);

}  // namespace rrhf::report
