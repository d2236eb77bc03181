#include "rrhf/report/event_file.h"

#include <gtest/gtest.h>

#include <array>
#include <fstream>
#include <sstream>

#include "scratch_run.h"

namespace rrhf::report {
namespace {

using std::string_literals::operator""s;

TEST(Crc32c, IsCastagnolis) {
  // RFC 3720, appendix B.4, and the check value of the catalogue of CRC algorithms
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  EXPECT_EQ(crc32c(""), 0u);
}

TEST(EventFile, BeginsAsTensorFlowsDo) {
  // 24 bytes, the masked CRC of that number; field 1, a double; field 3, 13 bytes
  const std::string file = event_file({});
  EXPECT_EQ(file.substr(0, 12), "\x18\0\0\0\0\0\0\0\xa3\x7f\x4b\x22"s);
  EXPECT_EQ(file.substr(12, 24),
            "\x09\0\0\0\0\0\0\0\0\x1a\x0d"
            "brain.Event:2"s);
  EXPECT_EQ(file.size(), 8u + 4 + 24 + 4);
}

TEST(EventFile, HasAMessageARow) {
  const Row row{300, {{"loss", 0.5}, {"timing.seconds", 2}}};
  const std::array rows{TimedRow{&row, 1.5}};
  const std::string file = event_file(rows);
  const std::size_t begin = 40;  // behind the first record
  // 1: 1.5 (0x3ff8...); 2: 300 = 0xac 0x02; 5: a summary of two values, { 1: tag, 2: float }
  const std::string message = "\x09\0\0\0\0\0\0\xf8\x3f\x10\xac\x02\x2a\x24"s +  // of 36 bytes: 2 + 11 and 2 + 21
                              "\x0a\x0b\x0a\x04loss\x15\0\0\0\x3f"s +
                              "\x0a\x15\x0a\x0e"
                              "timing/seconds\x15\0\0\0\x40"s;
  ASSERT_EQ(static_cast<unsigned char>(file[begin]), message.size());
  EXPECT_EQ(file.substr(begin + 12, message.size()), message);
  EXPECT_EQ(file.size(), begin + 12 + message.size() + 4);
}

TEST(TimesOf, CountBackFromTheEnd) {
  RunRecord run;
  run.steps = {{1, {{"timing.seconds", 10}}}, {2, {{"timing.seconds", 20}}}, {3, {}}};
  run.evaluations = {{0, {{"timing.seconds", 3}}}, {2, {{"timing.seconds", 4}}}};
  const RowTimes times = times_of(run, 100);
  // 3: 100, which took nothing told; the evaluation of 2: 100; 2: 96; 1: 76; the first evaluation: 66
  EXPECT_EQ(times.steps[2].time, 100);
  EXPECT_EQ(times.evaluations[1].time, 100);
  EXPECT_EQ(times.steps[1].time, 96);
  EXPECT_EQ(times.steps[0].time, 76);
  EXPECT_EQ(times.evaluations[0].time, 66);
}

TEST(WriteEventFiles, HasAFolderEachForStepsAndEvaluations) {
  const ScratchRun run("events", "{\"step\":1,\"loss\":2}\n{\"event\":\"eval\",\"step\":1,\"loss\":3}\n", "{}");
  const ScratchRun untrained("events-untrained", "{\"event\":\"eval\",\"step\":0,\"loss\":3}\n", "{}");
  const std::array folders{run.folder(), untrained.folder()};
  const auto into = run.folder() / "out";
  for (int again = 0; again < 2; ++again) write_event_files(load_runs(folders), into);
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(into)) {
    if (entry.is_regular_file()) files.push_back(entry.path().lexically_relative(into).string());
  }
  std::ranges::sort(files);
  EXPECT_EQ(files, (std::vector<std::string>{"events-untrained/eval/events.out.tfevents.0.rrhf",
                                             "events/eval/events.out.tfevents.0.rrhf",
                                             "events/train/events.out.tfevents.0.rrhf"}));
}

}  // namespace
}  // namespace rrhf::report
