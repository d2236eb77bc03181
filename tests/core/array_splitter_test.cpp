#include <gtest/gtest.h>

#include "rrhf/core/json.h"

namespace rrhf {
namespace {

using Element = ArraySplitter::Element;

// Feeds `text` in pieces of `size` bytes.
std::vector<Element> split(std::string_view text, std::size_t size, bool* finished = nullptr) {
  ArraySplitter splitter;
  std::vector<Element> elements;
  for (std::size_t at = 0; at < text.size(); at += size) splitter.feed(text.substr(at, size), elements);
  EXPECT_EQ(splitter.position(), text.size());
  if (finished != nullptr) *finished = splitter.finished();
  return elements;
}

std::size_t failing_byte(std::string_view text) {
  try {
    split(text, 1);
  } catch (const JsonSyntax& failure) {
    return failure.byte();
  }
  ADD_FAILURE() << "split: " << text;
  return 0;
}

TEST(ArraySplitter, GivesElementsWithTheirOffsetsHoweverBytesArrive) {
  //                               0         1         2         3
  //                               0123456789012345678901234567890123456
  constexpr std::string_view text = " [ {\"a\":[1,2]} ,\n\"x],\\\"\" , 12 ,[] ] \n";
  for (const std::size_t size : {std::size_t{1}, std::size_t{2}, std::size_t{7}, text.size()}) {
    bool finished = false;
    const auto elements = split(text, size, &finished);
    ASSERT_EQ(elements.size(), 4u) << size;
    EXPECT_EQ(elements[0].text, "{\"a\":[1,2]}");
    EXPECT_EQ(elements[0].byte, 3u);
    EXPECT_EQ(elements[1].text, "\"x],\\\"\"");
    EXPECT_EQ(elements[1].byte, 17u);
    EXPECT_EQ(elements[2].text, "12");
    EXPECT_EQ(elements[3].text, "[]");
    EXPECT_EQ(elements[3].byte, text.find("[] ]"));
    EXPECT_TRUE(finished);
  }
}

TEST(ArraySplitter, TakesAnEmptyArray) {
  bool finished = false;
  EXPECT_TRUE(split(" [ ] ", 1, &finished).empty());
  EXPECT_TRUE(finished);
}

TEST(ArraySplitter, KnowsATruncatedStream) {
  for (const std::string_view text : {"", "[", "[1", "[1,", "[\"a]", "[{]"}) {
    bool finished = true;
    split(text, 1, &finished);
    EXPECT_FALSE(finished) << text;
  }
}

TEST(ArraySplitter, SaysWhereTheUnfinishedElementBegins) {
  const auto place = [](std::string_view text) {
    ArraySplitter splitter;
    std::vector<Element> elements;
    splitter.feed(text, elements);
    return splitter.open_element();
  };
  EXPECT_EQ(place("[1,  {\"a"), 5u);
  EXPECT_EQ(place("[1, "), 4u);  // none has begun
}

TEST(ArraySplitter, RefusesWhatIsNoArray) {
  EXPECT_EQ(failing_byte("{\"a\":1}"), 0u);
  EXPECT_EQ(failing_byte("  x"), 2u);
  EXPECT_EQ(failing_byte("[,1]"), 1u);
  EXPECT_EQ(failing_byte("[1,]"), 3u);
  EXPECT_EQ(failing_byte("[1,,2]"), 3u);
  EXPECT_EQ(failing_byte("[1] 2"), 4u);
  EXPECT_EQ(failing_byte("[1]]"), 3u);
}

TEST(ArraySplitter, BoundsTheDepthWithinAnElement) {
  const std::string deep(max_json_depth, '[');
  EXPECT_NO_THROW(split("[" + deep, 1));
  EXPECT_EQ(failing_byte("[" + deep + "["), 1u + max_json_depth);
}

// The splitter does not parse: a broken element comes out whole, for the reader to name, and the next one is sound.
TEST(ArraySplitter, LeavesBrokenElementsToTheReader) {
  const auto elements = split("[nonsense here, {\"a\" 1}, 3]", 1);
  ASSERT_EQ(elements.size(), 3u);
  EXPECT_EQ(elements[0].text, "nonsense here");
  EXPECT_EQ(elements[1].text, "{\"a\" 1}");
  EXPECT_EQ(elements[2].text, "3");
}

}  // namespace
}  // namespace rrhf
