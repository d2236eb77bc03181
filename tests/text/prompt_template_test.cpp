#include <gtest/gtest.h>

#include "rrhf/text/prompt_template.h"
#include "tests/text/support.h"

namespace rrhf::text {
namespace {

using testing::holds;
using testing::TemporaryFolder;

constexpr std::string_view no_input =
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\nName a colour.\n\n### Response:";
constexpr std::string_view with_input =
    "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
    "response that appropriately completes the request.\n\n"
    "### Instruction:\nTranslate.\n\n### Input:\nGuten\nTag\n\n### Response:";

std::string applied(std::string_view name, std::string_view query) { return PromptTemplate::named(name).apply(query); }

TEST(PromptTemplate, NoneIsTheQueryItself) {
  EXPECT_EQ(applied("none", "a\n{query}"), "a\n{query}");
  EXPECT_EQ(PromptTemplate::named("none").name(), "none");
}

TEST(PromptTemplate, AlpacaPutsTheWholeQueryIntoTheInstruction) {
  EXPECT_EQ(applied("alpaca", "Name a colour."), no_input);
  EXPECT_TRUE(holds(applied("alpaca", "two\nlines"), "### Instruction:\ntwo\nlines\n\n### Response:"));
}

TEST(PromptTemplate, AlpacaSplitCutsAtTheFirstNewline) {
  EXPECT_EQ(applied("alpaca-split", "Translate.\nGuten\nTag"), with_input);
  EXPECT_EQ(applied("alpaca-split", "Name a colour."), no_input);
  EXPECT_EQ(applied("alpaca-split", "Name a colour.\n"), no_input);  // nothing behind the newline: no input
  EXPECT_TRUE(holds(applied("alpaca-split", "\nonly input"), "### Instruction:\n\n\n### Input:\nonly input\n\n"));
}

TEST(PromptTemplate, AFileHoldsTheQueryOnceOrMore) {
  const TemporaryFolder folder;
  const auto file = [&](std::string_view content) { return folder.write("template.txt", content).string(); };
  EXPECT_EQ(applied(file("\n\nHuman: {query}\n\nAssistant:\n"), "hi"), "\n\nHuman: hi\n\nAssistant:");
  EXPECT_EQ(applied(file("{query} -> {query}"), "{query}"), "{query} -> {query}");
  EXPECT_EQ(applied(file("{query}\n\n"), "hi"), "hi\n");  // one final line break goes, the other stays
  EXPECT_EQ(applied(file("\xef\xbb\xbf{query}!\r\n"), "hi"), "hi!");
}

TEST(PromptTemplate, RefusesFilesItCannotUse) {
  const TemporaryFolder folder;
  const auto error = [](const std::string& name) { return testing::error_of([&] { PromptTemplate::named(name); }); };
  EXPECT_TRUE(holds(error("alpacca"), "alpacca: neither a template (none, alpaca, alpaca-split)"));
  EXPECT_TRUE(holds(error(""), "neither a template"));
  EXPECT_TRUE(holds(error(folder.path().string()), "is a folder"));
  EXPECT_TRUE(holds(error(folder.write("a", "{Query}").string()), "has no {query}"));
  EXPECT_TRUE(holds(error(folder.write("b", "{query}\xff").string()), "not valid UTF-8 (byte 7)"));
}

TEST(PromptTemplate, SeesAQueryThatIsWrappedAlready) {
  EXPECT_TRUE(carries_alpaca_template(no_input));
  EXPECT_TRUE(carries_alpaca_template(with_input));
  EXPECT_FALSE(carries_alpaca_template("### Response: before ### Instruction:"));
  EXPECT_FALSE(carries_alpaca_template("### Instruction: alone"));
  EXPECT_TRUE(PromptTemplate::named("alpaca").would_wrap_twice(no_input));
  EXPECT_TRUE(PromptTemplate::named("alpaca-split").would_wrap_twice(no_input));
  EXPECT_FALSE(PromptTemplate::named("none").would_wrap_twice(no_input));
  EXPECT_FALSE(PromptTemplate::named("alpaca").would_wrap_twice("Name a colour."));
  const TemporaryFolder folder;  // a file's words are its writer's
  EXPECT_FALSE(PromptTemplate::named(folder.write("t", "<s> {query}").string()).would_wrap_twice(no_input));
}

}  // namespace
}  // namespace rrhf::text
