// A rank that does what training does between ranks, without a model: steps of one all-reduce each. It fails where and
// how it is told to, for tests of the starter and of the watch.
//
//   rank_probe OUTPUT STEPS MS_PER_STEP TIMEOUT_S [--processes N] [--fail RANK STEP KIND]
//
// KIND: early (before it meets the others), differ (another config), throw, input, abort, hang (its main thread),
// leave (ends well, too soon).

#include <ATen/ATen.h>

#include <cstdio>
#include <cstdlib>
#include <thread>

#include "rrhf/core/log.h"
#include "rrhf/core/stop.h"
#include "rrhf/distributed/launcher.h"
#include "rrhf/distributed/rank_run.h"

namespace {

using namespace rrhf;
using namespace rrhf::distributed;

struct Plan {
  std::string output;
  int steps = 0, ms = 0, timeout_s = 0, processes = 0;
  int rank = -1, step = -1;
  std::string kind;

  bool fails(const World& world, int now, std::string_view how) const {
    return world.rank() == rank && now == step && kind == how;
  }
};

Plan parse(int argc, char** argv) {
  Plan plan{.output = argv[1], .steps = std::atoi(argv[2]), .ms = std::atoi(argv[3]), .timeout_s = std::atoi(argv[4])};
  for (int i = 5; i < argc; ++i) {
    const std::string_view flag = argv[i];
    if (flag == "--processes") plan.processes = std::atoi(argv[++i]);
    if (flag == "--fail") {
      plan.rank = std::atoi(argv[i + 1]);
      plan.step = std::atoi(argv[i + 2]);
      plan.kind = argv[i + 3];
      i += 3;
    }
  }
  return plan;
}

void fail(const World& world, const Plan& plan, int step) {
  if (plan.fails(world, step, "throw")) throw_error("probe", "step {} went wrong", step);
  if (plan.fails(world, step, "input")) throw_input("probe", "step {} was given nonsense", step);
  if (plan.fails(world, step, "abort")) std::abort();
  if (plan.fails(world, step, "hang")) std::this_thread::sleep_for(std::chrono::hours(1));
}

void run_steps(const World& world, const Plan& plan) {
  const StopSignals signals;
  world.require_same("config", fmt::format("seed: {}", plan.fails(world, 0, "differ") ? 43 : 42));
  for (int step = 1; step <= plan.steps; ++step) {
    fail(world, plan, step);
    if (plan.fails(world, step, "leave")) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(plan.ms));
    at::Tensor sum = at::full({1000}, world.rank(), at::kFloat);
    world.all_reduce(sum).wait();
    log("step {} of rank {}: {}", step, world.rank(), sum[0].item<float>());
    if (world.any(StopSignals::requested())) throw Interrupted("probe", fmt::format("stopped after step {}", step));
  }
}

int run(int argc, char** argv) {
  const Plan plan = parse(argc, argv);
  const Meeting meeting = read_environment();
  if (plan.processes > 1 && !meeting.supervised) {
    return launch({.processes = plan.processes, .command = {argv, argv + argc}, .output = plan.output});
  }
  if (meeting.place.rank == plan.rank && plan.kind == "early") throw_input("probe", "no data here");
  run_as_rank(meeting, plan.output, {.timeout = std::chrono::seconds(plan.timeout_s)}, [&](const World& world) {
    run_steps(world, plan);
    std::printf("done %d\n", world.size());
  });
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const rrhf::SaidAlready& failure) {
    return failure.exit_code();
  } catch (const rrhf::Error& failure) {
    rrhf::log_line(failure.what());
    return failure.exit_code();
  } catch (const std::exception& failure) {
    rrhf::log_line(failure.what());
  }
  return 1;
}
