// That the emulated GPU runs kernels as a GPU does, and finds what a GPU would not forgive.
#include "tests/emulated/cuda/grid.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

#include "tests/emulated/cuda/example_kernels.h"
#include "tests/emulated/gpu.h"
#include "tests/emulated/machine.h"

namespace rrhf::emulated {
namespace {

at::Tensor ones() { return at::ones({64}, at::TensorOptions().dtype(at::kFloat).device(gpu())); }

// What the run of an example is ended with; empty where it comes to its end.
std::string wrong_with(Example example, const at::Tensor& numbers = ones()) {
  try {
    run_example(example, numbers.mutable_data_ptr<float>(), stream_of(Machine::current_stream()));
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return {};
}

TEST(Grid, RunsThreadsToTheirEnd) {
  const at::Tensor numbers = at::arange(64, at::kFloat).to(gpu());
  EXPECT_EQ(wrong_with(Example::sum_of_block, numbers), "");
  EXPECT_TRUE(numbers.to(at::kCPU).eq(63 * 64 / 2).all().item<bool>());
  EXPECT_EQ(wrong_with(Example::write_after_shuffle, numbers), "");
  EXPECT_EQ(numbers.to(at::kCPU)[0].item<float>(), 32 * 63 * 64 / 2);
}

TEST(Grid, EndsAtAccessesThatAGpuWouldNotForgive) {
  const auto finds = [](Example example, const std::string& what) {
    const std::string wrong = wrong_with(example);
    EXPECT_NE(wrong.find(what), std::string::npos) << "instead of: " << what << "\n" << wrong;
  };
  finds(Example::one_too_far, "one_too_far, block 0: thread 63: writes 4 bytes outside the GPU's memory");
  finds(Example::not_aligned, "thread 0: reads 16 bytes at an address not aligned to them");
  finds(Example::parts_not_aligned, "thread 0: reads 16 bytes at an address not aligned to them");
  finds(Example::into_another_array, "thread 31: writes 4 bytes outside the GPU's memory");
  finds(Example::nobody_wrote, "reads shared memory that nobody wrote");
  finds(Example::shared_too_far, "thread 63: writes 4 bytes outside the GPU's memory");
  finds(Example::no_barrier, "of block 0 read, with no barrier between");
  finds(Example::shuffle_is_no_barrier, "reads what thread 0 of block 0 wrote, with no barrier between");
  finds(Example::two_blocks, "wrote, with no barrier between");
  finds(Example::read_while_written, "with no barrier between");
}

TEST(Grid, EndsWhereThreadsWaitForNobody) {
  EXPECT_EQ(wrong_with(Example::different_barriers),
            "[emulated GPU] different_barriers, block 0: threads wait at different barriers");
  EXPECT_EQ(wrong_with(Example::barrier_of_some),
            "[emulated GPU] barrier_of_some, block 0: threads wait for others that do not come");
  EXPECT_EQ(wrong_with(Example::shuffle_with_ended),
            "[emulated GPU] shuffle_with_ended, block 0: a shuffle with a thread that has ended");
  EXPECT_EQ(wrong_with(Example::beyond_the_warp), "[emulated GPU] beyond_the_warp, block 0: a shuffle beyond the warp");
  EXPECT_EQ(wrong_with(Example::half_a_warp),
            "[emulated GPU] half_a_warp, block 0: a shuffle of less than a whole warp");
}

TEST(Grid, TakesMemoryOfTheGpuAlone) {
  EXPECT_NE(wrong_with(Example::sum_of_block, at::ones({64})).find("reads 4 bytes outside the GPU's memory"),
            std::string::npos);
  at::Tensor numbers = ones();
  float* gone = numbers.mutable_data_ptr<float>();
  numbers.reset();
  EXPECT_THROW(run_example(Example::sum_of_block, gone, nullptr), std::runtime_error);
}

TEST(Grid, RefusesWhatCudaRefuses) {
  const at::Tensor numbers = ones();
  EXPECT_FALSE(run_example(Example::too_many_threads, numbers.mutable_data_ptr<float>(), nullptr));
  EXPECT_TRUE(
      run_example(Example::sum_of_block, numbers.mutable_data_ptr<float>(), stream_of(Machine::current_stream())));
}

TEST(Grid, KernelsAreOperationsOfTheirStream) {
  const at::Tensor numbers = ones();
  const Agent other = Machine::instance().pooled_stream();
  EXPECT_TRUE(run_example(Example::sum_of_block, numbers.mutable_data_ptr<float>(), stream_of(other)));
  EXPECT_EQ(races(), std::vector<std::string>{"sum_of_block of stream " + std::to_string(other) +
                                              " is not ordered after aten::fill_.Scalar of stream 1"});
  Machine::instance().wait(host_agent, Machine::instance().now(other));
}

}  // namespace
}  // namespace rrhf::emulated
