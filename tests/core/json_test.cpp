#include "rrhf/core/json.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/core/support.h"

namespace rrhf {
namespace {

using testing::error_of;
using testing::holds;

JsonSyntax syntax_of(std::string_view text, JsonOptions options = {}) {
  try {
    parse_json_row(text, options);
  } catch (const JsonSyntax& failure) {
    return failure;
  }
  ADD_FAILURE() << "parsed: " << text;
  return {"", 0};
}

TEST(Json, KeepsTheOrderOfKeys) {
  EXPECT_EQ(dump_json(parse_json_row(R"({"z":1,"a":[true,null,"x"],"m":-0.5})")),
            R"({"z":1,"a":[true,null,"x"],"m":-0.5})");
}

TEST(Json, ReadsPythonsNumbersThatAreNotFinite) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  const Json values = parse_json_row("[NaN, Infinity, -Infinity, -1]");
  EXPECT_TRUE(std::isnan(values[0].get<double>()));
  EXPECT_EQ(values[1], infinity);
  EXPECT_EQ(values[2], -infinity);
  EXPECT_EQ(values[3], -1);
  EXPECT_EQ(parse_json_row(R"({"NaN": "NaN Infinity"})").dump(), R"({"NaN":"NaN Infinity"})");  // not inside strings
  for (const std::string_view broken : {"[Nan]", "[1NaN]", "[NaN1]", "[-NaN]", "[1Infinity]", "[xNaN]", "[NaNNaN]"}) {
    EXPECT_THROW(parse_json_row(broken), JsonSyntax) << broken;
  }
}

TEST(Json, ReadsNumbersBeyondDoubleAsInfinite) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  const std::string digits = "1" + std::string(400, '0');  // 10^400
  EXPECT_EQ(parse_json_row("[1e400, -1E+999, " + digits + ", 2]"), Json::array({infinity, -infinity, infinity, 2}));
  EXPECT_EQ(parse_json_row("[1e308, 1e-400, 0.1e1]"), Json::array({1e308, 0.0, 1.0}));
  EXPECT_EQ(parse_json_row("[0e1, 0e2, 0e3, 0e10, 0E1, -0e1]"), Json::array({0.0, 0.0, 0.0, 0.0, 0.0, 0.0}));
  for (const std::string_view broken : {"[1e400.5]", "[1e]", "[00e1]", "[1e400x]", "[e1]", "[--1e400]"}) {
    EXPECT_THROW(parse_json_row(broken), JsonSyntax) << broken;
  }
}

TEST(Json, RefusesEqualKeys) {
  const JsonSyntax twice = syntax_of(R"({"a": {"b": 1}, "b": 2, "a": 3})");
  EXPECT_EQ(twice.reason(), "the key \"a\" is given twice");
  EXPECT_EQ(twice.byte(), 24u);
  EXPECT_EQ(parse_json_row(R"({"a": 1, "b": 2, "a": 3})", {.repeated_keys = true}).dump(), R"({"a":3,"b":2})");
  EXPECT_EQ(parse_json_row(R"([{"a": 1}, {"a": {"a": 2}}])").dump(), R"([{"a":1},{"a":{"a":2}}])");
}

TEST(Json, ReadsLoneSurrogatesAsTheReplacementCharacter) {
  EXPECT_EQ(parse_json_row(R"("a\ud83db")"), "a\ufffdb");
  EXPECT_EQ(parse_json_row(R"("\udc00")"), "\ufffd");
  EXPECT_EQ(parse_json_row(R"("\ud83d\ud83d\ude00")"), "\ufffd\U0001f600");
  EXPECT_EQ(parse_json_row(R"("\uD83D\uDE00")"), "\U0001f600");
  EXPECT_EQ(parse_json_row(R"("\\ud83d")"), "\\ud83d");  // an escaped backslash, then text
}

TEST(Json, BoundsTheDepth) {
  const std::string allowed = std::string(max_json_depth, '[') + std::string(max_json_depth, ']');
  EXPECT_NO_THROW(parse_json_row(allowed));
  EXPECT_EQ(syntax_of("[" + allowed + "]").byte(), static_cast<std::size_t>(max_json_depth));
  EXPECT_TRUE(holds(syntax_of(std::string(1'000'000, '[')).reason(), "nested deeper than 64"));
  EXPECT_NO_THROW(parse_json_row("[\"" + std::string(1000, '[') + "\"]"));  // brackets in a string do not nest
}

TEST(Json, AllowsCommentsOnlyWhereAsked) {
  constexpr std::string_view text = "{ // one\n \"a\": /* [[ NaN */ 1, \"b\": \"// text\" }";
  EXPECT_EQ(parse_json_row(text, {.comments = true}).dump(), R"({"a":1,"b":"// text"})");
  EXPECT_THROW(parse_json_row(text), JsonSyntax);
  EXPECT_THROW(parse_json_row("1 /* open", {.comments = true}), JsonSyntax);
}

TEST(Json, SaysWhereATextIsNotJson) {
  EXPECT_EQ(syntax_of("[1, x]").byte(), 4u);
  EXPECT_EQ(syntax_of("[\"a\xff\"]").byte(), 3u);
  EXPECT_TRUE(holds(syntax_of("[\"a\xff\"]").reason(), "not valid UTF-8"));
  for (const std::string_view broken :
       {"", "{", "[1,", "\"open", "tru", "{\"a\" 1}", "1 2", "[1]]", "\"\\", "\"\\u12"}) {
    EXPECT_THROW(parse_json_row(broken), JsonSyntax) << broken;
  }
  for (const std::string_view nul : {std::string_view("{}\0", 3), std::string_view("{}\0 garbage {", 13)}) {
    EXPECT_EQ(syntax_of(nul).reason(), "a NUL byte");
    EXPECT_EQ(syntax_of(nul).byte(), 2u);
  }
  EXPECT_EQ(parse_json_row("\"\\u0000\""), std::string(1, '\0'));  // an escaped one is a character
  const std::string message = error_of([] { parse_json("{\n \"a\": x}", "config", "run.json"); });
  EXPECT_TRUE(holds(message, "[config] run.json: not JSON: "));
  EXPECT_TRUE(holds(message, "(line 2, column 7)"));
  EXPECT_EQ(message.find("exception"), std::string::npos) << message;  // the library's own words stay out
}

TEST(Json, WritesOneLineAndRefusesWhatJsonLacks) {
  EXPECT_EQ(dump_json({{"a", "\xff"}}), "{\"a\":\"\ufffd\"}");
  EXPECT_EQ(dump_json({{"a", {1, 2}}}, 1), "{\n \"a\": [\n  1,\n  2\n ]\n}");
  const double nan = std::nan("");
  EXPECT_TRUE(holds(error_of<Error>([&] { dump_json({{"a", {1.0, nan}}}); }), "not finite"));
  EXPECT_THROW(dump_json(-std::numeric_limits<double>::infinity()), Error);
}

TEST(Json, DescribesValuesForMessages) {
  EXPECT_EQ(describe(nullptr), "null");
  EXPECT_EQ(describe(std::nan("")), "NaN");
  EXPECT_TRUE(describe(-std::numeric_limits<double>::infinity()).starts_with("-Infinity"));
  EXPECT_EQ(describe("x"), "a string");
  EXPECT_EQ(describe(false), "false");
  EXPECT_EQ(describe(2.5), "the number 2.5");
  EXPECT_EQ(describe(Json::array({1, 2, 3})), "an array of 3");
  EXPECT_EQ(describe(Json::object()), "an object");
}

}  // namespace
}  // namespace rrhf
