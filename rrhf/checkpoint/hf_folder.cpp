#include "rrhf/checkpoint/hf_folder.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "rrhf/checkpoint/adapter.h"
#include "rrhf/checkpoint/delta_manifest.h"
#include "rrhf/checkpoint/folder_files.h"
#include "rrhf/checkpoint/mapped_tensor.h"
#include "rrhf/checkpoint/tensor_match.h"
#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/format/weight_files.h"

namespace rrhf::checkpoint {
namespace fs = std::filesystem;
namespace {

void write_small_files(const fs::path& folder, const model::LlamaConfig& config, const SaveOptions& options) {
  if (!options.made_from.empty()) {
    CarriedFiles(options.made_from, CarriedFiles::What::tokenizer_and_generation).write(folder);
  }
  write_configs(folder, config, options.dtype);
  write_encoding_note(folder, options.encoding_note);
}

}  // namespace

model::LlamaConfig load_config(const fs::path& folder) {
  model::LlamaConfig config = load_config_of_any(folder);
  if (is_delta_folder(folder)) {
    throw_input("checkpoint",
                "{0}: holds a delta, which is no model ({1}); rrhf delta apply --base DIR --delta {0} --out DIR makes "
                "the model of it and its base",
                folder.string(), delta_manifest_file);
  }
  return config;
}

model::LlamaConfig load_config_of_any(const fs::path& folder) {
  if (!is_folder(folder)) throw_input("checkpoint", "{}: no such model folder", folder.string());
  if (path_exists(folder / "metrics.jsonl") && path_exists(folder / "model" / "config.json")) {
    throw_input("checkpoint", "{}: is the folder of a run; its model is {}", folder.string(),
                (folder / "model").string());
  }
  if (!has_file(folder / "config.json")) {
    if (is_adapter_folder(folder)) {
      throw_input(
          "checkpoint",
          "{0}: holds a LoRA adapter, which is no model ({1}); rrhf model merge {0} --out DIR makes the model of "
          "it and its base",
          folder.string(), adapter_config_file);
    }
    format::refuse_meta_layout(folder);
    throw_input("checkpoint", "{}: has no config.json", folder.string());
  }
  return model::read_llama_config(folder / "config.json");
}

WeightReader::WeightReader(const fs::path& folder, const model::LlamaConfig& config,
                           std::span<const std::string_view> beside)
    : source_(folder) {
  const std::vector<const TensorInfo*> found = match_tensors(source_, config, beside);
  warn_of_a_likely_delta(source_);
  // With tensors beside it the model is a part of another, whose reader set the config's tie.
  if (beside.empty()) warn_of_untied_head(source_, config);
  auto next = found.begin();
  const auto shapes = model::tensor_shapes(config);
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    std::vector<Part>& parts = parts_.emplace_back();
    for (const auto& part : model::named_parts(i, at::empty(shapes[i], at::kMeta), config)) {
      parts.push_back({*next++, part.view.storage_offset()});
    }
  }
}

void WeightReader::read(std::size_t tensor, std::int64_t begin, const at::Tensor& values) const {
  for (const Part& part : parts_[tensor]) {
    const std::int64_t first = std::max(begin, part.begin);
    const std::int64_t last = std::min(begin + values.numel(), part.begin + part.info->numel());
    if (first < last) read_part(part, first - part.begin, values.narrow(0, first - begin, last - first));
  }
}

void WeightReader::read_part(const Part& part, std::int64_t begin, const at::Tensor& values) const {
  copy_range(source_.tensor(*part.info), begin, values, [&] { source_.release(*part.info); });
}

model::Weights load_weights(const fs::path& folder, const model::LlamaConfig& config, at::ScalarType dtype,
                            at::Device device, std::span<const std::string_view> beside) {
  const WeightReader reader(folder, config, beside);
  model::Weights weights = model::empty_weights(config, at::TensorOptions().dtype(dtype).device(device));
  const std::vector<at::Tensor> tensors = weights.tensors();
  for (std::size_t i = 0; i < tensors.size(); ++i) reader.read(i, 0, tensors[i].view({-1}));
  return weights;
}

std::optional<EncodingNote> load_encoding_note(const fs::path& folder) {
  const fs::path path = folder / encoding_note_file;
  if (!has_file(path)) return std::nullopt;
  const Json json = parse_json(read_file(path), "checkpoint", path.string());
  const auto word = [&](const char* key) {
    const bool present = json.is_object() && json.contains(key) && json[key].is_string();
    return present ? json[key].get<std::string>() : "";
  };
  const auto encoding = choice_named<Encoding>(word("encoding"));
  const auto bos_token = choice_named<BosToken>(word("bos_token"));
  if (!encoding || !bos_token) throw_input("checkpoint", "{}: needs encoding and bos_token", path.string());
  return EncodingNote{*encoding, *bos_token};
}

void write_encoding_note(const fs::path& folder, const std::optional<EncodingNote>& note) {
  if (!note) return;
  write_json(folder / encoding_note_file,
             {{"encoding", name_of(note->encoding)}, {"bos_token", name_of(note->bos_token)}});
}

std::vector<TensorBatch> named_batches(const TensorUnits& tensors, const model::TensorSet& set, at::ScalarType dtype) {
  std::vector<TensorBatch> batches;
  for (std::size_t unit = 0; unit < tensors.units.size(); ++unit) {
    const std::vector<std::size_t>& numbers = tensors.units[unit];
    const auto parts_of = [set, numbers](const std::vector<at::Tensor>& whole) {
      std::vector<model::NamedTensor> parts;
      for (std::size_t i = 0; i < numbers.size(); ++i) {
        for (auto& part : set.named_parts(numbers[i], whole[i])) parts.push_back(std::move(part));
      }
      return parts;
    };
    std::vector<at::Tensor> shaped;
    for (const std::size_t number : numbers) shaped.push_back(at::empty(set.shapes()[number], at::kMeta));
    TensorBatch& batch = batches.emplace_back();
    for (const auto& part : parts_of(shaped)) batch.specs.push_back({part.name, dtype, part.view.sizes().vec()});
    batch.whole = [&tensors, unit, parts_of] {
      std::vector<at::Tensor> views;
      for (const auto& part : parts_of(tensors.whole(unit))) views.push_back(part.view);
      return views;
    };
  }
  return batches;
}

std::int64_t model_bytes(const model::LlamaConfig& config, Dtype dtype) {
  return config.parameter_count() * static_cast<std::int64_t>(at::elementSize(model::scalar_type(dtype)));
}

void save_model(const fs::path& folder, const TensorUnits& weights, const model::LlamaConfig& config,
                const SaveOptions& options, const Writers& writers) {
  if (writers.rank() == 0) write_small_files(folder, config, options);
  write_batches(folder, "model", named_batches(weights, config, model::scalar_type(options.dtype)), options.shard_bytes,
                writers);
}

void save_model(const fs::path& folder, const model::Weights& weights, const model::LlamaConfig& config,
                const SaveOptions& options) {
  const std::vector<at::Tensor> tensors = weights.tensors();
  TensorUnits units;
  for (std::size_t i = 0; i < tensors.size(); ++i) units.units.push_back({i});
  units.whole = [&](std::size_t unit) { return std::vector<at::Tensor>{tensors[unit]}; };
  save_model(folder, units, config, options);
}

}  // namespace rrhf::checkpoint
