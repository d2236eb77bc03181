#include "rrhf/core/ahead.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>

#include "tests/core/support.h"

namespace rrhf {
namespace {

using namespace rrhf::testing;

// 0, 1, ..., count - 1, then nothing.
std::function<std::optional<int>()> numbers(int count) {
  return [count, next = 0]() mutable { return next < count ? std::optional(next++) : std::nullopt; };
}

TEST(Ahead, GivesAllInOrderThenNothing) {
  for (const std::size_t room : {1, 3, 1000}) {
    Ahead<int> ahead(numbers(100), room);
    for (int i = 0; i < 100; ++i) ASSERT_EQ(ahead.next(), i);
    EXPECT_EQ(ahead.next(), std::nullopt);
    EXPECT_EQ(ahead.next(), std::nullopt);
  }
}

TEST(Ahead, MakesNoMoreThanThereIsRoomFor) {
  std::atomic<int> made = 0;
  Ahead<int> ahead([&] { return std::optional(made++); }, 3);
  while (made < 3) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(made, 3);
  EXPECT_EQ(ahead.next(), 0);
  while (made < 4) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(made, 4);
}

TEST(Ahead, MakesOnAThreadOfItsOwn) {
  const std::thread::id here = std::this_thread::get_id();
  Ahead<std::thread::id> ahead([] { return std::optional(std::this_thread::get_id()); }, 1);
  EXPECT_NE(ahead.next(), here);
}

TEST(Ahead, AFailureComesInItsPlaceAndStays) {
  Ahead<int> ahead(
      [next = 0]() mutable -> std::optional<int> {
        if (next == 2) throw_input("data", "the third is broken");
        return next++;
      },
      8);
  EXPECT_EQ(ahead.next(), 0);
  EXPECT_EQ(ahead.next(), 1);
  for (int time = 0; time < 2; ++time) EXPECT_TRUE(holds(error_of([&] { ahead.next(); }), "the third is broken"));
}

TEST(Ahead, EndsWithResultsLeftAndWhileWaitingForRoom) {
  const auto kept = std::make_shared<int>(7);
  {
    Ahead<std::shared_ptr<int>> ahead([&] { return std::optional(kept); }, 2);
    EXPECT_EQ(*ahead.next().value(), 7);
  }
  EXPECT_EQ(kept.use_count(), 1) << "what was not taken is gone";
}

TEST(Ahead, CarriesWhatCanOnlyBeMovedAndCountsItsTime) {
  Ahead<std::unique_ptr<int>> ahead(
      [first = true]() mutable -> std::optional<std::unique_ptr<int>> {
        if (!std::exchange(first, false)) return std::nullopt;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        return std::make_unique<int>(3);
      },
      1);
  EXPECT_EQ(**ahead.next(), 3);
  EXPECT_GE(ahead.seconds(), 0.005);
}

}  // namespace
}  // namespace rrhf
