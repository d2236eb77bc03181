#include "rrhf/checkpoint/training_state.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <string_view>

#include "rrhf/checkpoint/tensor_file.h"
#include "rrhf/core/error.h"
#include "rrhf/core/file.h"

namespace rrhf::checkpoint {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view prefix = "step-";
constexpr const char* tensors_file = "training_state.safetensors";
constexpr const char* facts_file = "training_state.json";

// The checkpoints of a run by step.
std::map<std::int64_t, fs::path> checkpoints(const fs::path& output) {
  std::map<std::int64_t, fs::path> found;
  std::error_code missing;
  for (const auto& entry : fs::directory_iterator(output / "checkpoints", missing)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(prefix)) continue;
    std::int64_t step = 0;
    const char* end = name.data() + name.size();
    const auto [rest, failure] = std::from_chars(name.data() + prefix.size(), end, step);
    if (failure == std::errc() && rest == end) found[step] = entry.path();
  }
  return found;
}

std::vector<model::NamedTensor> named_moments(const TrainingState& state) {
  std::vector<model::NamedTensor> named;
  for (std::size_t i = 0; i < state.first_moments.size(); ++i) {
    named.push_back({fmt::format("first.{}", i), state.first_moments[i]});
    named.push_back({fmt::format("second.{}", i), state.second_moments[i]});
  }
  return named;
}

}  // namespace

void save_checkpoint(const fs::path& output, const model::Weights& masters, const model::LlamaConfig& config,
                     const SaveOptions& options, const TrainingState& state, std::int64_t keep) {
  StagedFolder folder(output / "checkpoints" / fmt::format("{}{:06}", prefix, state.step),
                      StagedFolder::IfPresent::replace);
  save_model(folder.path(), masters, config, options);
  write_tensor_file(folder.path() / tensors_file, named_moments(state), state.first_moments.front().scalar_type());
  const Json facts = {{"step", state.step}, {"data", state.data_fingerprint}};
  write_file_atomically(folder.path() / facts_file, dump_json(facts, 2) + "\n");
  folder.publish();
  auto all = checkpoints(output);
  while (std::ssize(all) > std::max<std::int64_t>(1, keep)) {
    fs::remove_all(all.begin()->second);
    all.erase(all.begin());
  }
}

std::optional<fs::path> latest_checkpoint(const fs::path& output) {
  const auto all = checkpoints(output);
  return all.empty() ? std::nullopt : std::optional(all.rbegin()->second);
}

void load_training_state(const fs::path& checkpoint, TrainingState& state) {
  const fs::path facts_path = checkpoint / facts_file;
  const Json facts = parse_json(read_file(facts_path), "checkpoint", facts_path.string());
  if (!facts.is_object() || !facts.value("step", Json()).is_number_unsigned() ||
      !facts.value("data", Json()).is_string()) {
    throw_input("checkpoint", "{}: needs step and data", facts_path.string());
  }
  state.step = facts["step"].get<std::int64_t>();
  state.data_fingerprint = facts["data"].get<std::string>();
  const TensorFile file(checkpoint / tensors_file);
  for (const model::NamedTensor& moment : named_moments(state)) {
    const format::SafetensorsEntry* entry = file.find(moment.name);
    if (entry == nullptr || at::IntArrayRef(entry->shape) != moment.view.sizes()) {
      throw_input("checkpoint", "{}: {} is missing or has another shape: the checkpoint is another model's",
                  file.name(), moment.name);
    }
    at::Tensor place = moment.view;
    place.copy_(file.tensor(*entry));
  }
}

}  // namespace rrhf::checkpoint
