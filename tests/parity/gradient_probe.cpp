// gradient_probe CONFIG.json OUT.safetensors [--set key.path=value]...
//
// Takes the first train.queries_per_step usable queries of data.train in file order as one step and writes the gradient
// of that step's loss for every parameter under its Hugging Face name, with the losses as float64 scalars: what the
// parity tests compare with transformers. Uses the trainer's own path from file to gradient.

#include <ATen/ATen.h>

#include <cstdio>
#include <numeric>
#include <span>
#include <string_view>

#include "rrhf/checkpoint/tensor_file.h"
#include "rrhf/core/error.h"
#include "rrhf/objective/rank_loss.h"
#include "rrhf/train/device.h"
#include "rrhf/train/evaluate.h"

namespace {

using namespace rrhf;

std::vector<config::Override> overrides_of(std::span<char*> arguments) {
  std::vector<config::Override> overrides;
  for (std::size_t i = 0; i + 1 < arguments.size(); i += 2)
    overrides.push_back(config::parse_override(arguments[i + 1]));
  return overrides;
}

at::Tensor scalar(double value) { return at::full({1}, value, at::TensorOptions().dtype(at::kDouble)); }

void write_gradients(const config::RunConfig& config, const std::string& out) {
  const train::ModelFolder folder = train::open_model_folder(config);
  train::EncodedSet set;
  set.add(train::tokenize_files(config.data.train, folder, config));
  const model::Llama llama = train::load_llama(config, folder, train::choose_device(config.device));
  const objective::Objective objective(train::objective_options(config));
  const distributed::World world;
  const train::Pass pass(llama, objective, world, train::pass_options(config, llama.device().is_cpu()));

  std::vector<std::int64_t> queries(static_cast<std::size_t>(std::min(set.size(), config.train.queries_per_step)));
  std::iota(queries.begin(), queries.end(), 0);
  train::StepPasses passes(set, queries, pass.place(), train::IdlePasses::first);
  const auto dtype = model::accumulation_type(llama.dtype());
  model::Gradients gradients(
      model::zero_weights(folder.config, at::TensorOptions().dtype(dtype).device(llama.device())));
  train::StepWork work;
  const auto next = [&] { return passes.next().value(); };
  const train::Totals totals = train::sum_of(pass.accumulate_gradients(next, gradients, work));

  std::vector<model::NamedTensor> named = model::named_tensors(gradients.weights(), folder.config);
  named.push_back({"loss", scalar(totals.mean(totals.loss))});
  named.push_back({"rank_loss", scalar(totals.mean(totals.rank_loss))});
  named.push_back({"sft_loss", scalar(totals.mean(totals.sft_loss))});
  checkpoint::write_tensor_file(out, named, at::kDouble);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  try {
    const auto overrides = overrides_of(std::span(argv + 3, static_cast<std::size_t>(argc - 3)));
    write_gradients(config::resolve_file(argv[1], overrides, objective::rank_loss_names()).config, argv[2]);
    return 0;
  } catch (const Error& failure) {
    std::fprintf(stderr, "%s\n", failure.what());
    return failure.exit_code();
  }
}
