// Refusals as text, for the tests of rrhf/format.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "rrhf/core/error.h"

namespace rrhf::testing {

/// The message of the InputError that `act` throws, or "accepted".
template <class Act>
std::string refusal_of(Act act) {
  try {
    act();
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

/// For EXPECT_TRUE: does the message say this?
inline ::testing::AssertionResult says(const std::string& message, const std::string& words) {
  if (message.find(words) != std::string::npos) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "no \"" << words << "\" in: " << message;
}

}  // namespace rrhf::testing
