#include "rrhf/text/pad_token.h"

#include <gtest/gtest.h>

#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/json.h"
#include "rrhf/text/tokenizer.h"
#include "tests/core/support.h"

namespace rrhf::text {
namespace {

namespace fs = std::filesystem;
using testing::error_of;
using testing::holds;
using testing::TemporaryFolder;

class PadToken : public ::testing::Test {
 protected:
  PadToken() {
    fs::copy_file(fs::path(RRHF_SOURCE_DIR) / "data/quickstart/tokenizer.model", path() / "tokenizer.model");
  }

  const fs::path& path() const { return folder_.path(); }
  Json json(const char* name) const { return parse_json(read_file(path() / name), "test", name); }
  std::int32_t pieces() const { return static_cast<std::int32_t>(Tokenizer::load(path()).size()); }

  TemporaryFolder folder_;
};

TEST_F(PadToken, TakesTheNextIdWhereThereIsNone) {
  const std::int32_t before = pieces();
  EXPECT_EQ(next_pad_id(path()), before);
  EXPECT_EQ(add_pad_token(path()), before);
  EXPECT_EQ(json("added_tokens.json"), Json({{"[PAD]", before}}));
  EXPECT_EQ(json("special_tokens_map.json"), Json({{"pad_token", "[PAD]"}}));
  EXPECT_FALSE(fs::exists(path() / "tokenizer_config.json"));
  const auto tokenizer = Tokenizer::load(path());
  EXPECT_EQ(tokenizer.pad_id(), before);
  EXPECT_EQ(tokenizer.size(), before + 1);
  EXPECT_EQ(tokenizer.encode("[PAD]"), std::vector{before});
}

TEST_F(PadToken, IsDeclaredInEveryFileThatIsThere) {
  const std::int32_t id = pieces();
  folder_.write("special_tokens_map.json", R"({"bos_token": "<s>"})");
  folder_.write("tokenizer_config.json",
                R"({"bos_token": "<s>", "pad_token": null, "added_tokens_decoder": {"1": {"content": "<s>"}}})");
  folder_.write("tokenizer.json", R"({"added_tokens": [{"id": 1, "content": "<s>", "special": true}], "model": {}})");
  add_pad_token(path());
  EXPECT_EQ(json("special_tokens_map.json")["bos_token"], "<s>");
  const Json config = json("tokenizer_config.json");
  EXPECT_EQ(config["pad_token"], "[PAD]");
  EXPECT_EQ(config["added_tokens_decoder"].size(), 2u);
  EXPECT_EQ(config["added_tokens_decoder"][std::to_string(id)]["content"], "[PAD]");
  const Json fast = json("tokenizer.json")["added_tokens"];
  ASSERT_EQ(fast.size(), 2u);
  EXPECT_EQ(fast[1]["id"], id);
  EXPECT_EQ(Tokenizer::load(path()).pad_id(), id);
}

TEST_F(PadToken, GivesTheRoleToATokenThatIsSpelledSo) {
  const std::int32_t id = pieces();
  folder_.write("added_tokens.json", fmt::format(R"({{"[PAD]": {}, "extra": {}}})", id, id + 1));
  EXPECT_FALSE(Tokenizer::load(path()).pad_id().has_value());
  EXPECT_EQ(add_pad_token(path()), id);
  EXPECT_EQ(Tokenizer::load(path()).pad_id(), id);
  EXPECT_EQ(Tokenizer::load(path()).size(), id + 2);
}

TEST_F(PadToken, IsRefusedWhereThereIsOne) {
  folder_.write("special_tokens_map.json", R"({"pad_token": "<unk>"})");
  const std::string before = read_file(path() / "special_tokens_map.json");
  EXPECT_TRUE(holds(error_of([&] { add_pad_token(path()); }), "has the padding token <unk> (id 0) already"));
  EXPECT_EQ(read_file(path() / "special_tokens_map.json"), before);
  EXPECT_FALSE(fs::exists(path() / "added_tokens.json"));
}

}  // namespace
}  // namespace rrhf::text
