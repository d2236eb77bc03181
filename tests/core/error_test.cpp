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

TEST(InputErrors, CollectsWhatChecksThrow) {
  InputErrors errors;
  EXPECT_TRUE(errors.collect([] {}));
  EXPECT_FALSE(errors.collect([] { throw InputError("data", "first"); }));
  EXPECT_THROW(errors.collect([] { throw Error("run", "another kind"); }), Error);
  EXPECT_FALSE(errors.collect([] { throw InputError("data", "second"); }));
  try {
    errors.require_none();
    FAIL();
  } catch (const InputError& error) {
    EXPECT_STREQ(error.what(), "[data] first\n[data] second");
  }
}

TEST(InputErrors, SaysAllTogetherAndEachOnce) {
  InputErrors errors;
  EXPECT_FALSE(errors.any());
  errors.require_none();
  errors.add(InputError("data", "a"));
  errors.add(InputError("model", "b"));
  errors.add(InputError("data", "a"));
  ASSERT_TRUE(errors.any());
  try {
    errors.require_none();
    FAIL();
  } catch (const InputError& failure) {
    EXPECT_STREQ(failure.what(), "[data] a\n[model] b");
  }
}

}  // namespace
}  // namespace rrhf
