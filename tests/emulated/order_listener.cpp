// At the end of each test: nothing it did on the emulated GPU was out of order.
#include <gtest/gtest.h>

#include "tests/emulated/gpu.h"

namespace rrhf::emulated {
namespace {

class OrderListener : public ::testing::EmptyTestEventListener {
  void OnTestEnd(const ::testing::TestInfo& test) override {
    for (const std::string& race : races()) ADD_FAILURE() << test.name() << ": " << race;
  }
};

// Owned by gtest.
const bool listens = [] {
  ::testing::UnitTest::GetInstance()->listeners().Append(new OrderListener);
  return true;
}();

}  // namespace
}  // namespace rrhf::emulated
