#include "rrhf/core/error.h"

#include <gtest/gtest.h>

namespace rrhf {
namespace {

TEST(Error, BeginsWithTheOperationAndCarriesTheExitCode) {
  EXPECT_STREQ(Error("train", "disk full").what(), "[train] disk full");
  EXPECT_EQ(Error("train", "x").exit_code(), 1);
  EXPECT_EQ(Interrupted("train", "x").exit_code(), 1);
  EXPECT_EQ(InputError("data", "x").exit_code(), 2);
}

TEST(Error, ThrowersFormat) {
  try {
    throw_input("data", "{}:{}: bad", "file", 3);
    FAIL();
  } catch (const Error& failure) {
    EXPECT_STREQ(failure.what(), "[data] file:3: bad");
    EXPECT_EQ(failure.exit_code(), 2);
  }
  EXPECT_THROW(throw_error("x", "y"), Error);
}

}  // namespace
}  // namespace rrhf
