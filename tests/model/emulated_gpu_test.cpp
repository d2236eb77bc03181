// That the emulated GPU computes as the CPU does and finds what is not ordered; and transfers beside its computing.
#include "tests/emulated/gpu.h"

#include <ATen/ATen.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <gtest/gtest.h>

#include "rrhf/model/parked_inputs.h"
#include "rrhf/model/side_streams.h"
#include "tests/emulated/timeline.h"

namespace rrhf::model {
namespace {

using emulated::races;

c10::Stream another_stream() {
  return c10::impl::VirtualGuardImpl(emulated::gpu().type()).getStreamFromGlobalPool(emulated::gpu());
}

c10::Stream computing_stream() {
  return c10::impl::VirtualGuardImpl(emulated::gpu().type()).getStream(emulated::gpu());
}

at::Tensor numbers(std::int64_t count) { return at::arange(count, at::kFloat); }

TEST(EmulatedGpu, ComputesAsTheCpuDoes) {
  const at::Tensor a = numbers(12).view({3, 4}), there = a.to(emulated::gpu());
  EXPECT_EQ(there.device(), emulated::gpu());
  EXPECT_TRUE(at::equal((there.matmul(there.t()) + 1).to(at::kCPU), a.matmul(a.t()) + 1));
  EXPECT_TRUE(at::equal(there.index_select(0, at::tensor({2, 0}).to(emulated::gpu())).to(at::kCPU),
                        a.index_select(0, at::tensor({2, 0}))));
  EXPECT_EQ(there.sum().item<double>(), 66);
  EXPECT_EQ(races(), std::vector<std::string>());
}

TEST(EmulatedGpu, FindsAStreamThatDoesNotWait) {
  const at::Tensor x = at::zeros({8}, emulated::gpu());
  const c10::Stream other = another_stream();
  {
    const c10::StreamGuard on(other);
    x.add_(1);
  }
  EXPECT_EQ(races(), std::vector<std::string>{"aten::add.out of stream " + std::to_string(other.id()) +
                                              " is not ordered after aten::zero_ of stream 1"});
  c10::Event written(emulated::gpu().type());
  written.record(other);
  written.block(computing_stream());
  x.add_(1);
  EXPECT_EQ(races(), std::vector<std::string>());
  EXPECT_EQ(x.to(at::kCPU)[0].item<double>(), 2);
}

TEST(EmulatedGpu, LetsStreamsReadTheSameMemory) {
  const at::Tensor x = at::ones({8}, emulated::gpu());
  c10::Event made(emulated::gpu().type());
  made.record(computing_stream());
  const c10::Stream other = another_stream();
  made.block(other);
  {
    const c10::StreamGuard on(other);
    EXPECT_EQ((x + x).to(at::kCPU)[7].item<double>(), 2);
  }
  const at::Tensor here = x + x;
  EXPECT_EQ(races(), std::vector<std::string>());
  x.add_(1);  // the host has waited for the copy, so the other stream has read
  EXPECT_EQ(races(), std::vector<std::string>());
}

TEST(EmulatedGpu, FindsAHostThatDoesNotWait) {
  const at::Tensor x = at::ones({8}, emulated::gpu()), here = at::empty({8});
  here.copy_(x, /*non_blocking=*/true);
  emulated::host_reads(here);
  EXPECT_EQ(races(), std::vector<std::string>{"reading of the host is not ordered after copy_ of stream 1"});
  here.copy_(x);
  emulated::host_reads(here);
  EXPECT_EQ(races(), std::vector<std::string>());
  x.copy_(here, /*non_blocking=*/true);
  emulated::host_reads(here);
  EXPECT_EQ(races(), std::vector<std::string>());
  emulated::host_writes(here);
  EXPECT_EQ(races(), std::vector<std::string>{"writing of the host is not ordered after copy_ of stream 1"});
}

TEST(EmulatedGpu, RefusesWhatAGpuRefuses) {
  const at::Tensor x = at::ones({8}, emulated::gpu());
  EXPECT_THROW(x.add(at::ones({8})), c10::Error);
  EXPECT_NO_THROW(x.add(at::scalar_tensor(1)));
  EXPECT_TRUE(at::empty({8}, emulated::gpu()).isnan().all().item<bool>()) << "what nobody wrote is no number";
}

TEST(Timeline, OrdersWhatComesAfterAnotherOverAThird) {
  emulated::Timeline timeline;
  const emulated::Agent a = timeline.add_stream(), b = timeline.add_stream(), c = timeline.add_stream();
  emulated::History memory;
  timeline.operate(a, "writing", {}, {&memory});
  timeline.wait(b, timeline.now(a));
  timeline.wait(c, timeline.now(b));
  timeline.operate(c, "reading", {&memory}, {});
  timeline.operate(a, "reading", {&memory}, {});
  EXPECT_TRUE(timeline.take_races().empty());
  timeline.operate(b, "writing", {}, {&memory});
  EXPECT_EQ(timeline.take_races(),
            (std::vector<std::string>{"writing of stream 2 is not ordered after reading of stream 3",
                                      "writing of stream 2 is not ordered after reading of stream 1"}));
  EXPECT_FALSE(timeline.passed(timeline.now(b)));
  timeline.wait(emulated::host_agent, timeline.now(b));
  EXPECT_TRUE(timeline.passed(timeline.now(b)));
}

// Memory goes back to the stream it was made for as soon as the host lets go of it, used elsewhere or not.
TEST(EmulatedGpu, FindsMemoryThatIsHandedOutTooEarly) {
  for (const bool recorded : {false, true}) {
    at::Tensor x = at::ones({1000}, emulated::gpu());
    const at::Tensor here = at::empty({1000});
    const c10::Stream other = another_stream();
    c10::Event made(emulated::gpu().type());
    made.record(computing_stream());
    made.block(other);
    {
      const c10::StreamGuard on(other);
      here.copy_(x, /*non_blocking=*/true);
      if (recorded) x.record_stream(other);
    }
    x.reset();
    const at::Tensor y = at::zeros({1000}, emulated::gpu());
    EXPECT_EQ(races().size(), recorded ? 0 : 1);
  }
}

TEST(SideStreams, TransfersAreOrderedWithWhatIsComputed) {
  const SideStreams streams(emulated::gpu());
  at::Tensor x = numbers(1000).to(emulated::gpu());
  x.mul_(2);
  const at::Tensor host = host_room_like(x);
  const Moment sent = streams.send(x, host);
  x.reset();  // its memory is the next tensor's if nobody keeps it
  at::Tensor y = at::full({1000}, 7, emulated::gpu());
  y.reset();
  const at::Tensor back = at::empty({1000}, emulated::gpu());  // where y was
  streams.wait(streams.fetch(host, back, sent));
  const at::Tensor next = back + 1;
  sent->synchronize();
  emulated::host_reads(host);
  EXPECT_TRUE(at::equal(next.to(at::kCPU), numbers(1000) * 2 + 1));
  EXPECT_EQ(races(), std::vector<std::string>());
}

TEST(SideStreams, MemoryOfATransferThatNobodyWaitsForIsNotAnothersYet) {
  const SideStreams streams(emulated::gpu());
  const at::Tensor host = at::ones({1000});
  for (const bool coming : {false, true}) {
    at::Tensor x = at::empty({1000}, emulated::gpu());
    const Moment moment = coming ? streams.fetch(host, x, nullptr) : streams.send(x, host);
    x.reset();
    x = at::zeros({1000}, emulated::gpu());
    EXPECT_EQ(races(), std::vector<std::string>());
    moment->synchronize();
  }
}

TEST(ParkedInputs, ComeBackInTheOppositeOrder) {
  ParkedInputs parked(emulated::gpu());
  emulated::take_peak();
  for (const int pack : {0, 1}) {
    at::Tensor x_TD = at::full({100, 10}, 0.0, emulated::gpu());
    for (int layer = 0; layer < 20; ++layer) {
      parked.park(x_TD);
      x_TD = x_TD + 1;
    }
    x_TD.zero_();
    for (int layer = 20; layer-- > 0;) {
      const at::Tensor back_TD = parked.take_back();
      x_TD = x_TD + back_TD * back_TD;
      EXPECT_EQ(back_TD.to(at::kCPU)[99][9].item<double>(), layer) << "pack " << pack;
    }
    EXPECT_TRUE(parked.empty());
    EXPECT_EQ(x_TD.to(at::kCPU)[0][0].item<double>(), 19 * 20 * 39 / 6);
  }
  EXPECT_EQ(races(), std::vector<std::string>());
  EXPECT_LE(emulated::take_peak(), 8 * 100 * 10 * 4) << "20 layers' inputs wait on the host";
}

}  // namespace
}  // namespace rrhf::model
