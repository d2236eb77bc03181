#include "rrhf/train/step_work.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <numeric>

#include "rrhf/model/products.h"
#include "rrhf/train/device.h"

namespace rrhf::train {
namespace {

constexpr std::size_t part_count = part_names.size();

double total_seconds(const PartTimes& times) {
  double sum = 0;
  for (std::size_t i = 0; i < part_count; ++i) sum += times.seconds(static_cast<Part>(i));
  return sum;
}

// Operations of a part's products that were carried out; 0 for a part without.
double operations(const StepWork& work, Part part) {
  if (part == Part::linear) return work.flops_done().linear;
  if (part == Part::attention) return work.flops_done().attention;
  return part == Part::head ? work.flops_done().head : 0;
}

}  // namespace

model::Flops StepWork::flops() const {
  model::Flops sum = forward_flops;
  return sum += backward_flops;
}

model::Flops StepWork::flops_done() const {
  model::Flops sum = forward_flops;
  return sum += backward_flops_done;
}

StepWork& StepWork::operator+=(const StepWork& other) {
  forward_flops += other.forward_flops;
  backward_flops += other.backward_flops;
  backward_flops_done += other.backward_flops_done;
  tokens += other.tokens;
  times += other.times;
  return *this;
}

double measure_matrix_rate(c10::Device device, c10::ScalarType dtype) {
  // Large enough for the full rate, small enough for a few milliseconds.
  const std::int64_t size = device.is_cuda() ? 8192 : 768;
  const auto options = at::TensorOptions().dtype(dtype).device(device);
  // Not ones: they take less power, and a GPU then runs faster than with the numbers of a model.
  constexpr std::int64_t drawn_rows = 256;
  const at::Tensor drawn = at::randn({drawn_rows, size}, at::detail::createCPUGenerator(1), at::kFloat);
  const at::Tensor a = drawn.to(options).repeat({size / drawn_rows, 1});
  const at::Tensor b = a.t().contiguous();
  at::Tensor c = at::empty({size, size}, options);
  const int products = device.is_cuda() ? 4 : 1;  // behind one another, so that the wait for a GPU counts for little
  double best = 0;
  for (int run = 0; run < 8; ++run) {
    const auto begin = std::chrono::steady_clock::now();
    for (int product = 0; product < products; ++product) model::product_into(a, b, c);
    c[0][0].item<double>();  // waits for the device
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    best = std::max(best, 2.0 * products * static_cast<double>(size * size * size) / seconds);
  }
  return best;
}

RankWork exchange_work(const StepWork& work, double seconds, const distributed::World& world, c10::Device device) {
  const double waited = work.times.seconds(Part::communication);
  const std::vector<double> own{static_cast<double>(work.tokens) / seconds, static_cast<double>(peak_memory(device)),
                                waited, seconds - waited};
  at::Tensor columns = at::zeros({std::ssize(own), world.size()}, at::kDouble);
  columns.select(1, world.rank()).copy_(at::tensor(own, at::kDouble));
  at::Tensor everywhere = columns.to(device);
  world.all_reduce(everywhere).wait();
  columns = everywhere.to(at::kCPU);
  const auto numbers = [&](std::int64_t column) {
    const double* begin = columns[column].const_data_ptr<double>();
    return std::vector<double>(begin, begin + world.size());
  };
  const at::Tensor waiting = columns[2], busy = columns[3];
  return {.tokens_per_second = numbers(0),
          .peak_memory = numbers(1),
          .communication_share = waiting.sum().item<double>() / (waiting + busy).sum().item<double>(),
          .imbalance = busy.max().item<double>() / busy.mean().item<double>() - 1};
}

Json timing_fields(const StepWork& work, double seconds, std::int64_t tokens, double matrix_rate,
                   std::int64_t peak_memory, const RankWork& ranks) {
  const double rate = work.flops().total() / seconds;
  const double backward = work.backward_flops.total(), done = work.backward_flops_done.total();
  Json parts = Json::object();
  for (std::size_t i = 0; i < part_count; ++i) parts[part_names[i]] = work.times.seconds(static_cast<Part>(i));
  return {{"seconds", seconds},
          {"tokens_per_second", static_cast<double>(tokens) / seconds},
          {"flops_per_second", rate},
          {"speed_of_light", rate / matrix_rate},
          {"backward_share", backward > 0 ? done / backward : 1},
          {"peak_memory", peak_memory},
          {"rank_tokens_per_second", ranks.tokens_per_second},
          {"rank_peak_memory", ranks.peak_memory},
          {"communication_share", ranks.communication_share},
          {"imbalance", ranks.imbalance},
          {"parts", parts}};
}

std::string profile_table(const StepWork& work, double matrix_rate, double prepared_seconds) {
  const double all = total_seconds(work.times);
  std::string table =
      fmt::format("{:<13} {:>10} {:>7}   {:>10}   {}\n", "part", "seconds", "share", "GFLOP/s", "of the matrix rate");
  for (std::size_t i = 0; i < part_count; ++i) {
    const auto part = static_cast<Part>(i);
    const double seconds = work.times.seconds(part), rate = seconds > 0 ? operations(work, part) / seconds : 0;
    table += fmt::format("{:<13} {:>10.3f} {:>5.1f} %", part_names[i], seconds, 100 * seconds / all);
    if (rate > 0) table += fmt::format("   {:>10.1f}   {:>5.1f} %", rate / 1e9, 100 * rate / matrix_rate);
    table += "\n";
  }
  table += fmt::format("{:<13} {:>10.3f} {:>5.1f} %   {:>10.1f}   {:>5.1f} %\n", "done", all, 100.0,
                       work.flops_done().total() / all / 1e9, 100 * work.flops_done().total() / all / matrix_rate);
  table += fmt::format("{:<10} {:>10} {:>7}   {:>10.1f}   {:>5.1f} %   as if no response had been idle\n", "counted",
                       "", "", work.flops().total() / all / 1e9, 100 * work.flops().total() / all / matrix_rate);
  const double waiting = work.times.seconds(Part::data) + work.times.seconds(Part::communication);
  table += fmt::format("{:<13} {:>10.3f} {:>5.1f} %   of these data and communication: what was waited for\n",
                       "waiting", waiting, 100 * waiting / all);
  table += fmt::format("{:<13} {:>10.3f} {:>5.1f} %   on the data, by another thread beside the steps\n", "prepared",
                       prepared_seconds, 100 * prepared_seconds / all);
  return table;
}

}  // namespace rrhf::train
