#include "rrhf/checkpoint/training_state.h"

#include <ATen/ATen.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <string_view>

#include "rrhf/checkpoint/adapter.h"
#include "rrhf/checkpoint/folder_files.h"
#include "rrhf/checkpoint/mapped_tensor.h"
#include "rrhf/core/aside.h"
#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/log.h"

namespace rrhf::checkpoint {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view prefix = "step-";
constexpr const char* tensors_stem = "training_state";
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

std::string first_name(std::size_t tensor) { return fmt::format("first.{}", tensor); }
std::string second_name(std::size_t tensor) { return fmt::format("second.{}", tensor); }

void add_batches(const TensorUnits& moments, std::string (*name_of)(std::size_t), const model::TensorSet& set,
                 at::ScalarType dtype, std::vector<TensorBatch>& batches) {
  for (std::size_t unit = 0; unit < moments.units.size(); ++unit) {
    TensorBatch& batch = batches.emplace_back();
    for (const std::size_t number : moments.units[unit]) {
      batch.specs.push_back({name_of(number), dtype, set.shapes()[number]});
    }
    batch.whole = [&moments, unit] { return moments.whole(unit); };
  }
}

TrainingFacts read_facts(const fs::path& path) {
  require_regular_file(path);
  const Json facts = parse_json(read_file(path), "checkpoint", path.string());
  if (!facts.is_object() || !facts.value("step", Json()).is_number_unsigned() ||
      !facts.value("data", Json()).is_string()) {
    throw_input("checkpoint", "{}: needs step and data", path.string());
  }
  return {.step = facts["step"].get<std::int64_t>(), .data_fingerprint = facts["data"].get<std::string>()};
}

// Under another name first, one that is cleaned away when a run begins: half a checkpoint is none. A run goes on with
// one too many; another machine may still have its files open (NFS).
void remove_checkpoint(const fs::path& path) {
  const fs::path other = aside(path, "tmp");
  std::error_code failure;
  fs::rename(path, other, failure);
  if (!failure) fs::remove_all(other, failure);
  if (failure) warn("{}: could not be removed: {}", path.string(), failure.message());
}

void remove_oldest(const fs::path& output, std::int64_t keep) {
  auto all = checkpoints(output);
  while (std::ssize(all) > std::max<std::int64_t>(1, keep)) {
    remove_checkpoint(all.begin()->second);
    all.erase(all.begin());
  }
}

}  // namespace

void save_checkpoint(const fs::path& output, const TrainingTensors& tensors, const SaveOptions& options,
                     const TrainingFacts& facts, std::int64_t keep, const Writers& writers) {
  const model::TensorSet& set = tensors.set;
  const auto bytes_of = [&](at::ScalarType type) {
    return set.parameters() * static_cast<std::int64_t>(at::elementSize(type));
  };
  JointFolder folder(output / "checkpoints" / fmt::format("{}{:06}", prefix, facts.step),
                     bytes_of(model::scalar_type(options.dtype)) + 2 * bytes_of(tensors.moment_type), writers);
  if (set.adapters() == nullptr) {
    save_model(folder.path(), tensors.masters, set.config(), options, writers);
  } else {
    save_adapter(folder.path(), tensors.masters, set, options, writers);
  }
  std::vector<TensorBatch> batches;
  add_batches(tensors.first_moments, first_name, set, tensors.moment_type, batches);
  add_batches(tensors.second_moments, second_name, set, tensors.moment_type, batches);
  write_batches(folder.path(), tensors_stem, batches, options.shard_bytes, writers);
  if (writers.rank() == 0) {
    write_json(folder.path() / facts_file, {{"step", facts.step}, {"data", facts.data_fingerprint}});
  }
  folder.publish();
  if (writers.rank() == 0) remove_oldest(output, keep);
}

std::optional<fs::path> latest_checkpoint(const fs::path& output) {
  const auto all = checkpoints(output);
  return all.empty() ? std::nullopt : std::optional(all.rbegin()->second);
}

std::optional<fs::path> checkpoint_before(const fs::path& checkpoint) {
  std::optional<fs::path> before;
  for (const auto& [step, path] : checkpoints(checkpoint.parent_path().parent_path())) {
    if (path.filename() == checkpoint.filename()) break;
    before = path;
  }
  return before;
}

TrainingStateReader::TrainingStateReader(const fs::path& checkpoint, const model::TensorSet& set)
    : path_(checkpoint), facts_(read_facts(checkpoint / facts_file)) {
  for (const auto& entry : fs::directory_iterator(checkpoint)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(tensors_stem) && name.ends_with(".safetensors")) {
      files_.push_back(std::make_unique<TensorFile>(entry.path()));
    }
  }
  for (std::size_t i = 0; i < set.size(); ++i) {
    first_.push_back(find(first_name(i), set.shapes()[i]));
    second_.push_back(find(second_name(i), set.shapes()[i]));
  }
}

TrainingStateReader::Entry TrainingStateReader::find(const std::string& name,
                                                     const std::vector<std::int64_t>& shape) const {
  for (const auto& file : files_) {
    const format::SafetensorsEntry* entry = file->find(name);
    if (entry != nullptr && entry->shape == shape) return {file.get(), entry};
  }
  throw_input("checkpoint", "{}: {} is missing or has another shape: the checkpoint is another model's",
              (path_ / tensors_stem).string() + ".safetensors", name);
}

void TrainingStateReader::read(const Entry& from, std::int64_t begin, const at::Tensor& values) {
  copy_range(from.file->tensor(*from.entry), begin, values, [&] { from.file->release(*from.entry); });
}

void TrainingStateReader::read_first(std::size_t tensor, std::int64_t begin, const at::Tensor& values) const {
  read(first_[tensor], begin, values);
}

void TrainingStateReader::read_second(std::size_t tensor, std::int64_t begin, const at::Tensor& values) const {
  read(second_[tensor], begin, values);
}

}  // namespace rrhf::checkpoint
