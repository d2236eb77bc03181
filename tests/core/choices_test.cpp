#include "rrhf/core/choices.h"

#include <gtest/gtest.h>

namespace rrhf {
namespace {

TEST(Choices, TranslateBetweenWordsAndValues) {
  EXPECT_EQ(choice_named<Encoding>("released"), Encoding::released);
  EXPECT_EQ(choice_named<Encoding>("Released"), std::nullopt);
  EXPECT_EQ(choice_named<Recipe>("default"), Recipe::standard);
  EXPECT_EQ(name_of(DataFormat::automatic), "auto");
  EXPECT_EQ(name_of(Dtype::bfloat16), "bfloat16");
  EXPECT_EQ(choice_list<Normalization>(), "response | padded | none");
}

}  // namespace
}  // namespace rrhf
