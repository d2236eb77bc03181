// The arithmetic of deltas. Whole folders are tested in tests/system and tests/parity.
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "rrhf/checkpoint/delta_difference.h"
#include "rrhf/checkpoint/delta_manifest.h"
#include "rrhf/checkpoint/finite.h"
#include "rrhf/checkpoint/padded_rows.h"
#include "rrhf/checkpoint/weight_sum.h"
#include "tests/core/support.h"

namespace rrhf::checkpoint {
namespace {

using testing::error_of;
using testing::holds;
using testing::TemporaryFolder;

at::Tensor half(std::initializer_list<double> values) { return at::tensor(values, at::kDouble).to(at::kHalf); }

TEST(RestoringDifference, IsThePlainDifferenceWhereThatIsExact) {
  // Halves near 1 have steps of 2^-10; 1.25 - 1.125 = 0.125 exactly.
  const Difference difference = restoring_difference(half({1.25, -2, 0}), half({1.125, -3, 5}));
  EXPECT_TRUE(at::equal(difference.delta, half({0.125, 1, -5})));
  EXPECT_TRUE(same_bits(difference.restored, half({1.25, -2, 0})));
}

TEST(RestoringDifference, TakesANeighbourWhereTheRoundedDifferenceMisses) {
  // Halves from 2048 to 4096 have steps of 2, from 1024 to 2048 of 1. Target 2049 does not exist; take base -1025,
  // target 1026: the difference 2051 rounds to 2052 (even), -1025 + 2052 = 1027. 2050 gives 1025. Neither is 1026:
  // the miss is 1 either way. With base -1 and target 2048 the difference 2049 rounds to 2048: 2047; 2050 gives 2049,
  // which rounds to 2048: a neighbour leads back.
  const Difference back = restoring_difference(half({2048}), half({-1}));
  EXPECT_EQ(back.delta.item<double>(), 2050);
  EXPECT_EQ(back.restored.item<double>(), 2048);
  const Difference missed = restoring_difference(half({1026}), half({-1025}));
  EXPECT_EQ(std::abs(missed.restored.item<double>() - 1026), 1);
}

TEST(RestoringDifference, KeepsTheSignOfZeroWhereItCan) {
  // x + d is -0 only for x = d = -0.
  const Difference difference = restoring_difference(half({-0.0, -0.0, 0.0}), half({-0.0, 1, -0.0}));
  EXPECT_TRUE(std::signbit(difference.restored[0].item<double>()));
  EXPECT_FALSE(std::signbit(difference.restored[1].item<double>()));
  EXPECT_FALSE(std::signbit(difference.restored[2].item<double>()));
}

// All 2^16 numbers of a 16-bit dtype are tried as the delta: where any leads back, the one chosen must.
void expect_found_where_one_exists(at::ScalarType dtype, double scale) {
  auto generator = at::detail::createCPUGenerator(7);
  const auto draw = [&](double size) {
    return at::empty({300}, at::TensorOptions().dtype(at::kFloat)).normal_(0, size, generator).to(dtype);
  };
  const at::Tensor base = draw(1), target = draw(scale);
  const at::Tensor every = at::arange(-32768, 32768, at::TensorOptions().dtype(at::kShort)).view(dtype);
  const Difference chosen = restoring_difference(target, base);
  int reachable = 0;
  for (std::int64_t i = 0; i < base.numel(); ++i) {
    const at::Tensor reached = at::add(base[i], every).view(at::kShort).eq(target.view(at::kShort)[i]);
    if (!reached.any().item<bool>()) continue;
    ++reachable;
    EXPECT_TRUE(same_bits(chosen.restored[i], target[i])) << base[i].item<double>() << " " << target[i].item<double>();
  }
  EXPECT_GT(reachable, 5);  // a target far smaller than its base is seldom reached
  EXPECT_TRUE(same_bits(chosen.restored, at::add(base, chosen.delta)));
}

TEST(RestoringDifference, FindsADeltaWhereverOneExists) {
  for (const double scale : {0.01, 0.3, 1.0, 3.0, 100.0}) {
    expect_found_where_one_exists(at::kHalf, scale);
    expect_found_where_one_exists(at::kBFloat16, scale);
  }
}

TEST(RestoringDifference, BringsBackAFineTunedTensorInEveryDtype) {
  auto generator = at::detail::createCPUGenerator(8);
  for (const at::ScalarType dtype : {at::kHalf, at::kBFloat16, at::kFloat, at::kDouble}) {
    const at::Tensor base = at::empty({1000, 7}).normal_(0, 0.02, generator);
    // Within 40 % of the base: Sterbenz' lemma holds, nothing may be lost.
    const at::Tensor target = (base * at::empty({1000, 7}).uniform_(0.6, 1.4, generator)).to(dtype);
    const Difference difference = restoring_difference(target, base.to(dtype));
    EXPECT_TRUE(same_bits(difference.restored, target)) << at::toString(dtype);
    EXPECT_EQ(difference.delta.scalar_type(), dtype);
  }
}

TEST(Rounding, CountsTensorsElementsAndTheLargestError) {
  Rounding rounding;
  rounding.add_block("a", half({1, 2, 3}), half({1, 2, 3}));
  rounding.add_block("b", half({1, 2}), half({1, 4}));    // off by a half
  rounding.add_block("b", half({1, 8}), half({1, 8.0}));  // the same tensor, another block
  rounding.add_block("b", half({3, 3}), half({4, 4}));    // off by a quarter, twice
  rounding.add_block("c", half({0.0}), half({-0.0}));     // other bits, no distance
  EXPECT_EQ(rounding.tensors, 3);
  EXPECT_EQ(rounding.elements, 3 + 6 + 1);
  EXPECT_EQ(rounding.inexact_tensors, 2);
  EXPECT_EQ(rounding.inexact_elements, 4);
  EXPECT_EQ(rounding.largest_absolute, 2);
  EXPECT_EQ(rounding.largest_relative, 0.5);
  EXPECT_EQ(rounding.largest_in, "b");
  rounding.add_block("d", half({1}), half({std::numeric_limits<double>::quiet_NaN()}));
  EXPECT_TRUE(std::isinf(rounding.largest_relative));
}

TEST(PaddedRows, GiveAllRowsInBlocksOfAnySize) {
  const at::Tensor base = half({1, 2, 3, 4, 5, 9}).view({3, 2});
  const at::Tensor zero = at::tensor({1, 2, 3, 4, 5, 9, 0, 0, 0, 0}, at::kFloat).view({5, 2});
  const at::Tensor mean = at::tensor({1, 2, 3, 4, 5, 9, 3, 5, 3, 5}, at::kFloat).view({5, 2});
  for (const RowFill fill : {RowFill::zero, RowFill::mean}) {
    const PaddedRows rows(base, 5, at::kFloat, fill);
    for (std::int64_t first = 0; first < 5; ++first) {
      for (std::int64_t count = 1; first + count <= 5; ++count) {
        EXPECT_TRUE(at::equal(rows.block(first, count), (fill == RowFill::zero ? zero : mean).narrow(0, first, count)));
      }
    }
  }
  EXPECT_TRUE(at::equal(PaddedRows(base, 2, at::kHalf, RowFill::mean).block(0, 2), base.narrow(0, 0, 2)));
}

TEST(CountNotFinite, SeesInfinitiesAndNanInEveryDtype) {
  const double inf = std::numeric_limits<double>::infinity();
  const at::Tensor values = at::tensor({1.0, inf, -inf, std::nan(""), 0.0, 65504.0}, at::kDouble);
  for (const at::ScalarType dtype : {at::kHalf, at::kBFloat16, at::kFloat, at::kDouble}) {
    EXPECT_EQ(count_not_finite(values.to(dtype)), 3) << at::toString(dtype);
  }
  EXPECT_EQ(count_not_finite(at::tensor({70000.0}, at::kDouble).to(at::kHalf)), 1);
  EXPECT_EQ(count_not_finite(values.view({2, 3}).t()), 3);
}

TEST(CountZeros, SeesBothSignsAndNothingElse) {
  const at::Tensor values = at::tensor({0.0, -0.0, 6e-8, -1.0, std::nan("")}, at::kDouble);
  for (const at::ScalarType dtype : {at::kHalf, at::kBFloat16, at::kFloat, at::kDouble}) {
    EXPECT_EQ(count_zeros(values.to(dtype)), 2) << at::toString(dtype);
  }
  EXPECT_EQ(count_zeros(at::tensor({2e-8, -2e-8, 1.0}, at::kDouble).to(at::kHalf)), 2);
}

model::LlamaConfig two_layers() {
  model::LlamaConfig config;
  config.num_hidden_layers = 2;
  config.head_dim = 4;
  return config;
}

WeightSum sum_of_ones(const model::LlamaConfig& config) {
  WeightSum sum;
  for (const char* name : {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"}) {
    sum.add(name, at::full({2, 3}, 0.5, at::kHalf));
  }
  for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) {
    for (const char* name :
         {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj",
          "mlp.up_proj", "mlp.down_proj", "input_layernorm", "post_attention_layernorm"}) {
      sum.add(fmt::format("model.layers.{}.{}.weight", i, name), at::ones({5}));
    }
  }
  return sum;
}

TEST(WeightSum, AddsWeightsAndTheRotaryBuffersOfOldStateDicts) {
  // 3 x 6 x 0.5 + 2 x 9 x 5 = 99; a layer's frequencies are 1 and 10000^(-2/4) = 0.01.
  const WeightSum::Result sum = sum_of_ones(two_layers()).result(two_layers());
  EXPECT_EQ(sum.exact, 99);
  EXPECT_EQ(sum.float32, 99);
  EXPECT_NEAR(sum.exact_with_rotary, 99 + 2 * 1.01, 1e-6);
  EXPECT_NEAR(sum.float32_with_rotary, 99 + 2 * 1.01, 1e-5);
  EXPECT_TRUE(sum.matches(99.009));
  EXPECT_FALSE(sum.matches(99.02));
  EXPECT_TRUE(sum.matches(101.02));
}

TEST(WeightSum, AddsFloat32InTheOrderOfTheStateDict) {
  // 2^24 + 1 is lost in float32, 1 + 1 + 2^24 is not: the embedding comes first, so its large sum swallows the ones.
  model::LlamaConfig config = two_layers();
  WeightSum sum = sum_of_ones(config);
  sum.add("model.embed_tokens.weight", at::full({1}, 16777216.0));
  sum.add("model.layers.0.self_attn.q_proj.weight", at::ones({1}));
  sum.add("model.layers.0.self_attn.k_proj.weight", at::ones({1}));
  const WeightSum::Result result = sum.result(config);
  EXPECT_EQ(result.exact, 16777216 + 2 + 16 * 5 + 6);
  // After the two ones: 16 times 5, each rounded to a multiple of 2 (ties to even), then 3 and 3.
  float expected = 16777216.0F;
  for (const float each : {1.0F, 1.0F}) expected += each;
  for (int i = 0; i < 16; ++i) expected += 5.0F;
  for (int i = 0; i < 2; ++i) expected += 3.0F;
  EXPECT_EQ(result.float32, expected);
  EXPECT_NE(result.float32, result.exact);
  config.num_hidden_layers = 3;
  EXPECT_TRUE(holds(error_of<Error>([&] { sum.result(config); }), "model.layers.2.self_attn.q_proj.weight"));
}

constexpr const char* good_manifest = R"({"what": "delta", "dtype": "float16", "target_dtype": "float16",
  "other_dtypes": {"model.norm.weight": "float32"}, "base_rows": 32000, "pad_row": "mean", "base": [HASHED], "files": [HASHED, HASHED]})";

std::string with_files(std::string text) {
  const std::string file = R"({"name": "x", "bytes": 3, "sha256": ")" + std::string(64, 'a') + "\"}";
  for (std::size_t at = text.find("HASHED"); at != std::string::npos; at = text.find("HASHED"))
    text.replace(at, 6, file);
  return text;
}

TEST(DeltaManifest, SaysWhatADeltaWasMadeFrom) {
  const TemporaryFolder folder;
  EXPECT_FALSE(read_delta_manifest(folder.path()).has_value());
  folder.write("rrhf-delta.json", with_files(good_manifest));
  const auto manifest = read_delta_manifest(folder.path());
  ASSERT_TRUE(manifest.has_value());
  EXPECT_EQ(manifest->dtype_of_target("lm_head.weight"), Dtype::float16);
  EXPECT_EQ(manifest->dtype_of_target("model.norm.weight"), Dtype::float32);
  EXPECT_EQ(manifest->pad_row, RowFill::mean);
  EXPECT_EQ(manifest->base_rows, 32000);
  EXPECT_EQ(manifest->base, (std::vector<FileHash>{{"x", 3, std::string(64, 'a')}}));
  EXPECT_EQ(manifest->files.size(), 2u);
  EXPECT_TRUE(manifest->small_files.empty());
}

TEST(DeltaManifest, NamesSmallFilesToo) {
  const TemporaryFolder folder;
  const auto written = [&](std::string_view small) {
    std::string text = good_manifest;
    text.insert(1, fmt::format("\"small_files\": {}, ", small));
    folder.write("rrhf-delta.json", with_files(text));
  };
  written(R"({"base": [], "target": [HASHED, HASHED], "files": [HASHED]})");
  const auto manifest = read_delta_manifest(folder.path());
  EXPECT_TRUE(manifest->small_of_base.empty());
  EXPECT_EQ(manifest->small_files, (std::vector<FileHash>{{"x", 3, std::string(64, 'a')}}));
  for (const char* small : {"[]", "{}", R"({"base": []})", R"({"base": 3, "files": []})"}) {
    written(small);
    EXPECT_TRUE(holds(error_of([&] { read_delta_manifest(folder.path()); }), "\"small_files\" lists no files of \""))
        << small;
  }
  written(R"({"base": [3], "files": []})");
  EXPECT_TRUE(holds(error_of([&] { read_delta_manifest(folder.path()); }), "a file of \"small_files\" lacks"));
}

TEST(DeltaManifest, NamesFilesThatDifferAndThoseThatAreMissing) {
  const std::vector<FileHash> named{{"a", 1, "0123456789"}, {"b", 1, "bb"}, {"c", 1, "cc"}};
  EXPECT_EQ(differences(named, named), "");
  EXPECT_EQ(differences({{"a", 1, "9876543210"}, {"c", 1, "cc"}, {"more", 1, "dd"}}, named),
            "\n  a is another: sha256 98765432... here, 01234567... there\n  b is missing");
}

TEST(DeltaManifest, IsRefusedWhenItIsBroken) {
  const TemporaryFolder folder;
  const auto refusal = [&](std::string_view from, std::string_view to) {
    std::string text = with_files(good_manifest);
    text.replace(text.find(from), from.size(), to);
    folder.write("rrhf-delta.json", text);
    return error_of([&] { read_delta_manifest(folder.path()); });
  };
  EXPECT_TRUE(holds(refusal("\"delta\"", "\"recovered\""), "holds a recovered model, not a delta"));
  EXPECT_TRUE(holds(refusal("\"delta\"", "\"other\""), "\"what\" must be delta"));
  EXPECT_TRUE(holds(refusal("\"target_dtype\": \"float16\"", "\"target_dtype\": \"int8\""),
                    "\"target_dtype\" must be float32 |"));
  EXPECT_TRUE(holds(refusal("\"float32\"", "7"), "\"other_dtypes\": model.norm.weight must be float32 |"));
  EXPECT_TRUE(holds(refusal("{\"model.norm.weight\": \"float32\"}", "[]"), "\"other_dtypes\" must be an object"));
  EXPECT_TRUE(holds(refusal("\"mean\"", "7"), "\"pad_row\" must be zero | mean"));
  EXPECT_TRUE(holds(refusal("\"bytes\": 3", "\"bytes\": -3"), "lacks its name, bytes or sha256"));
  EXPECT_TRUE(holds(refusal("\"bytes\": 3", "\"bytes\": 18446744073709551615"), "lacks its name, bytes or sha256"));
  for (const char* rows : {"0", "-1", "1.5", "9223372036854775808", "\"32000\""}) {
    EXPECT_TRUE(holds(refusal("32000", rows), "\"base_rows\" must be a whole number from 1")) << rows;
  }
  EXPECT_TRUE(holds(refusal("aaaa", ""), "lacks its name, bytes or sha256"));
  EXPECT_TRUE(holds(refusal("\"base\": [", "\"base\": [7, "), "a file of \"base\""));
  EXPECT_TRUE(holds(refusal("\"base\"", "\"bass\""), "\"base\" lists no file"));
  folder.write("rrhf-delta.json", "[1]");
  EXPECT_TRUE(holds(error_of([&] { read_delta_manifest(folder.path()); }), "is not an object"));
}

TEST(DeltaManifest, ComparesContentsWhateverTheNames) {
  const std::vector<FileHash> a{{"x", 3, "aa"}, {"y", 4, "bb"}}, other_names{{"1", 4, "bb"}, {"2", 3, "aa"}};
  const std::vector<FileHash> other_content{{"x", 3, "aa"}, {"y", 4, "cc"}}, fewer{{"x", 3, "aa"}};
  EXPECT_TRUE(same_contents(a, other_names));
  EXPECT_FALSE(same_contents(a, other_content));
  EXPECT_FALSE(same_contents(a, fewer));
  EXPECT_TRUE(same_sizes(a, other_content));
  EXPECT_FALSE(same_sizes(a, fewer));
  EXPECT_EQ(file_list({{"m.bin", 13'476'939'516, ""}}), "m.bin (13.5GB)");
  EXPECT_EQ(file_list({{"m.bin", 2'000, "0123456789"}}), "m.bin (2.00kB, sha256 01234567...)");
}

}  // namespace
}  // namespace rrhf::checkpoint
