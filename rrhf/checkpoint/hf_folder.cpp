#include "rrhf/checkpoint/hf_folder.h"

#include <ATen/ATen.h>
#include <algorithm>
#include <set>

#include "rrhf/checkpoint/name_list.h"
#include "rrhf/checkpoint/tensor_file.h"
#include "rrhf/checkpoint/tensor_source.h"
#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/text/tokenizer.h"

namespace rrhf::checkpoint {
namespace fs = std::filesystem;
namespace {

constexpr const char* single_file = "model.safetensors";
constexpr const char* index_file = "model.safetensors.index.json";
constexpr const char* note_file = "rrhf.json";

// Copies what the files hold into the places the config asks for, and keeps account of both sides.
class Loader {
 public:
  Loader(const fs::path& folder, std::vector<model::NamedTensor> places) : folder_(folder), places_(std::move(places)) {
    for (const model::NamedTensor& place : places_) missing_.insert(place.name);
  }

  void load(const TensorSource& source, bool tied) {
    for (const TensorInfo& info : source.tensors()) {
      // A tied checkpoint may still hold the head; it equals the embedding.
      if (tied && info.name == "lm_head.weight") continue;
      const auto place = std::ranges::find(places_, info.name, &model::NamedTensor::name);
      if (place == places_.end()) {
        unexpected_.push_back(info.name);
        continue;
      }
      missing_.erase(info.name);
      if (place->view.sizes() != at::IntArrayRef(info.shape)) {
        wrong_ += fmt::format("\n  {}: {} is {}, the config asks for {}", source.files()[info.file].string(), info.name,
                              shape_text(info.shape), shape_text(place->view.sizes()));
        continue;
      }
      at::Tensor view = place->view;
      view.copy_(source.tensor(info));
      source.release(info);  // else the file stays resident beside the weights
    }
  }

  void finish() const {
    std::string problems = wrong_;
    if (!missing_.empty()) problems += "\n  missing: " + name_list({missing_.begin(), missing_.end()});
    if (!unexpected_.empty()) problems += "\n  not part of a LLaMA of this config: " + name_list(unexpected_);
    if (!problems.empty())
      throw_input("checkpoint", "{}: tensors and config.json do not fit:{}", folder_.string(), problems);
  }

 private:
  fs::path folder_;
  std::vector<model::NamedTensor> places_;
  std::set<std::string> missing_;
  std::vector<std::string> unexpected_;
  std::string wrong_;
};

void write_json(const fs::path& path, const Json& json) { write_file_atomically(path, dump_json(json, 2) + "\n"); }

// Splits the tensors where the next one would pass the shard size.
std::vector<std::vector<model::NamedTensor>> shards(std::vector<model::NamedTensor> tensors, std::int64_t element_bytes,
                                                    std::int64_t shard_bytes) {
  std::vector<std::vector<model::NamedTensor>> result(1);
  std::int64_t filled = 0;
  for (model::NamedTensor& tensor : tensors) {
    const std::int64_t bytes = tensor.view.numel() * element_bytes;
    if (filled > 0 && filled + bytes > shard_bytes) {
      result.emplace_back();
      filled = 0;
    }
    filled += bytes;
    result.back().push_back(std::move(tensor));
  }
  return result;
}

void save_weights(const fs::path& folder, std::vector<model::NamedTensor> tensors, at::ScalarType dtype,
                  std::int64_t shard_bytes) {
  const auto parts = shards(std::move(tensors), static_cast<std::int64_t>(at::elementSize(dtype)), shard_bytes);
  if (parts.size() == 1) return write_tensor_file(folder / single_file, parts.front(), dtype);
  Json map = Json::object();
  std::int64_t total = 0;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::string name = fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, parts.size());
    write_tensor_file(folder / name, parts[i], dtype);
    for (const model::NamedTensor& tensor : parts[i]) {
      map[tensor.name] = name;
      total += tensor.view.numel() * static_cast<std::int64_t>(at::elementSize(dtype));
    }
  }
  write_json(folder / index_file, {{"metadata", {{"total_size", total}}}, {"weight_map", map}});
}

}  // namespace

model::LlamaConfig load_config(const fs::path& folder) {
  if (!fs::is_directory(folder)) throw_input("checkpoint", "{}: no such model folder", folder.string());
  if (!fs::exists(folder / "config.json")) throw_input("checkpoint", "{}: has no config.json", folder.string());
  return model::read_llama_config(folder / "config.json");
}

model::Weights load_weights(const fs::path& folder, const model::LlamaConfig& config, at::ScalarType dtype,
                            at::Device device) {
  const TensorSource source(folder);
  model::Weights weights = model::empty_weights(config, at::TensorOptions().dtype(dtype).device(device));
  Loader loader(folder, model::named_tensors(weights, config));
  loader.load(source, config.tie_word_embeddings);
  loader.finish();
  return weights;
}

std::optional<EncodingNote> load_encoding_note(const fs::path& folder) {
  const fs::path path = folder / note_file;
  if (!fs::exists(path)) return std::nullopt;
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

void save_model(const fs::path& folder, const model::Weights& weights, const model::LlamaConfig& config,
                const SaveOptions& options) {
  Json json = model::to_json(config);
  json["torch_dtype"] = name_of(options.dtype);
  json.erase("dtype");  // transformers 5's word for the same; two words could disagree
  write_json(folder / "config.json", json);
  Json generation = {{"_from_model_config", true}};
  for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"}) {
    if (json.contains(key) && !json[key].is_null()) generation[key] = json[key];
  }
  write_json(folder / "generation_config.json", generation);
  save_weights(folder, model::named_tensors(weights, config), model::scalar_type(options.dtype), options.shard_bytes);
  if (!options.tokenizer_from.empty()) {
    for (const fs::path& file : text::tokenizer_files(options.tokenizer_from))
      fs::copy_file(file, folder / file.filename());
  }
  if (options.encoding_note) {
    write_json(folder / note_file, {{"encoding", name_of(options.encoding_note->encoding)},
                                    {"bos_token", name_of(options.encoding_note->bos_token)}});
  }
}

}  // namespace rrhf::checkpoint
