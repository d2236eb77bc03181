// Operations of a pack, worked out by hand.
#include "rrhf/model/flops.h"

#include <gtest/gtest.h>

#include "tests/model/grouped_config.h"

namespace rrhf::model {
namespace {

// One query: a prompt of 3 tokens, responses of 2 and 1 labels. 4 rows (the last label of a response is no row), of
// which 2 predict: the prompt's last, for both first labels, and the first response's.
Pack small_pack() {
  static const std::vector<std::int32_t> prompt{1, 4, 5}, first{6, 2}, second{7};
  const std::vector<PackInput> inputs{{prompt, {first, second}}};
  return make_pack(inputs, at::kCPU);
}

// Of a layer: query 8 x 8, key and value 4 x 8, output 8 x 8, gate, up and down 8 x 6.
constexpr double weights_of_layer = 64 + 2 * 32 + 64 + 3 * 48;
// Rows that see 1, 2 and 3 keys, and one that sees 4; 2 products of 8 columns in two layers.
constexpr double attention = 2 * 2 * 2 * 8 * (1 + 2 + 3 + 4);

TEST(Flops, CountEachWeightTwiceAToken) {
  const Flops forward = forward_flops(small_pack(), grouped_config());
  EXPECT_EQ(forward.linear, 2 * 2 * weights_of_layer * 4);
  EXPECT_EQ(forward.attention, attention);
  EXPECT_EQ(forward.head, 2 * 8 * 13 * 2);
  const Flops backward = backward_flops(small_pack(), grouped_config());
  EXPECT_EQ(backward.linear, 2 * forward.linear);
  EXPECT_EQ(backward.attention, 2 * forward.attention);
  EXPECT_EQ(backward.head, 2 * forward.head);
}

TEST(Flops, MakeNoGradientsOfWeightsBesideAdapters) {
  const LoraLayout lora(grouped_config(), {.rank = 3, .modules = {Projection::v_proj, Projection::down_proj}});
  // Of a layer: A 3 x 8 and B 4 x 3 of the value, A 3 x 6 and B 8 x 3 of down.
  constexpr double adapters_of_layer = 24 + 12 + 18 + 24;
  EXPECT_EQ(lora.parameters_of_layer(), adapters_of_layer);
  const Flops forward = forward_flops(small_pack(), grouped_config(), &lora);
  EXPECT_EQ(forward.linear, 2 * 2 * (weights_of_layer + adapters_of_layer) * 4);
  const Flops backward = backward_flops(small_pack(), grouped_config(), &lora);
  EXPECT_EQ(backward.linear, 2 * 2 * (weights_of_layer + 2 * adapters_of_layer) * 4);
  EXPECT_EQ(backward.attention, 2 * attention);
  EXPECT_EQ(backward.head, forward.head);
}

}  // namespace
}  // namespace rrhf::model
