#include "rrhf/config/decoding_settings.h"

#include <gtest/gtest.h>

#include "rrhf/core/error.h"

namespace rrhf::config {
namespace {

const DecodingSetting& named(std::string_view name) {
  for (const DecodingSetting& setting : decoding_settings()) {
    if (setting.name == name) return setting;
  }
  throw Error("test", "no such setting");
}

std::string refusal(std::string_view name, std::string_view word) {
  DecodingOptions options;
  try {
    assign(named(name), options, word);
  } catch (const InputError& failure) {
    return failure.what();
  }
  return "";
}

TEST(DecodingSettings, EachWordGoesToItsField) {
  DecodingOptions options;
  assign(named("method"), options, "diverse-beam");
  assign(named("max-new-tokens"), options, "7");
  assign(named("temperature"), options, "0.5");
  assign(named("top-p"), options, "0.25");
  assign(named("top-k"), options, "3");
  assign(named("beams"), options, "6");
  assign(named("groups"), options, "2");
  assign(named("diversity"), options, "1.5");
  assign(named("length-penalty"), options, "-1");
  assign(named("repetition-penalty"), options, "1.25");
  assign(named("seed"), options, "18446744073709551615");
  EXPECT_EQ(to_json(options).dump(),
            R"({"method":"diverse-beam","max-new-tokens":7,"temperature":0.5,"top-p":0.25,"top-k":3,"beams":6,)"
            R"("groups":2,"diversity":1.5,"length-penalty":-1.0,"repetition-penalty":1.25,)"
            R"("seed":18446744073709551615,"answers":1,"stop":[]})");
  EXPECT_EQ(value_text(named("method"), options), "diverse-beam");
  EXPECT_EQ(value_text(named("temperature"), options), "0.5");
}

TEST(DecodingSettings, SayWhichMethodsTakeNotice) {
  EXPECT_EQ(no_effect(named("temperature"), {}), "--temperature is of --method top-p; greedy takes no notice of it");
  EXPECT_EQ(no_effect(named("beams"), {.method = DecodingMethod::top_p}),
            "--beams is of --method beam and diverse-beam; top-p takes no notice of it");
  EXPECT_NE(no_effect(named("groups"), {.method = DecodingMethod::beam}), "");
  EXPECT_EQ(no_effect(named("seed"), {.method = DecodingMethod::top_p}), "");
  EXPECT_EQ(no_effect(named("length-penalty"), {.method = DecodingMethod::beam}), "");
  EXPECT_EQ(no_effect(named("repetition-penalty"), {}), "");
}

TEST(DecodingSettings, AWordOfAnotherKindIsRefusedByTheFlagsName) {
  EXPECT_EQ(refusal("method", "beams"), "[usage] --method beams: must be one of greedy | top-p | beam | diverse-beam");
  EXPECT_EQ(refusal("beams", "4.5"), "[usage] --beams 4.5: a whole number is needed");
  EXPECT_EQ(refusal("top-p", "most"), "[usage] --top-p most: a number is needed");
  EXPECT_EQ(refusal("top-p", ""), "[usage] --top-p : a number is needed");
  EXPECT_EQ(refusal("seed", "-1"), "[usage] --seed -1: a whole number from 0 on is needed");
}

}  // namespace
}  // namespace rrhf::config
