#include "rrhf/checkpoint/hf_folder.h"

#include <ATen/ATen.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "rrhf/checkpoint/tensor_file.h"
#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/text/tokenizer.h"

namespace rrhf::checkpoint {
namespace fs = std::filesystem;
namespace {

constexpr const char* single_file = "model.safetensors";
constexpr const char* index_file = "model.safetensors.index.json";
constexpr const char* note_file = "rrhf.json";

// The shards an index names, each once. A name must stay inside the folder.
std::vector<fs::path> shards_of(const fs::path& folder) {
  const fs::path path = folder / index_file;
  const Json index = parse_json(read_file(path), "checkpoint", path.string());
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    throw_input("checkpoint", "{}: has no weight_map", path.string());
  }
  std::set<std::string> names;
  for (const auto& [tensor, file] : index["weight_map"].items()) {
    if (!file.is_string() || fs::path(file.get<std::string>()).filename() != file.get<std::string>()) {
      throw_input("checkpoint", "{}: {} is mapped to {}; the name of a file in the same folder is needed",
                  path.string(), tensor, file.dump());
    }
    names.insert(file.get<std::string>());
  }
  std::vector<fs::path> files;
  for (const std::string& name : names) files.push_back(folder / name);
  return files;
}

std::vector<fs::path> weight_files(const fs::path& folder) {
  if (fs::exists(folder / index_file)) return shards_of(folder);
  if (fs::exists(folder / single_file)) return {folder / single_file};
  throw_input("checkpoint", "{}: holds neither {} nor {}", folder.string(), single_file, index_file);
}

std::string shape_text(at::IntArrayRef shape) {
  return fmt::format("[{}]", fmt::join(shape.begin(), shape.end(), ", "));
}

// Old checkpoints carry this buffer; it follows from the config.
bool is_rotary_buffer(std::string_view name) { return name.ends_with("rotary_emb.inv_freq"); }

// Up to ten names and a count.
std::string name_list(const std::vector<std::string>& names) {
  const std::size_t shown = std::min<std::size_t>(names.size(), 10);
  std::string text =
      fmt::format("{}", fmt::join(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(shown), ", "));
  return names.size() > shown ? text + fmt::format(" and {} more", names.size() - shown) : text;
}

// Copies what the files hold into the places the config asks for, and keeps account of both sides.
class Loader {
 public:
  Loader(const fs::path& folder, std::vector<model::NamedTensor> places) : folder_(folder), places_(std::move(places)) {
    for (const model::NamedTensor& place : places_) missing_.insert(place.name);
  }

  void load(const fs::path& path, bool tied) {
    const TensorFile file(path);
    for (const format::SafetensorsEntry& entry : file.entries()) {
      const auto place = std::ranges::find(places_, entry.name, &model::NamedTensor::name);
      // A tied checkpoint may still hold the head; it equals the embedding.
      if (is_rotary_buffer(entry.name) || (tied && entry.name == "lm_head.weight")) continue;
      if (place == places_.end()) {
        unexpected_.push_back(entry.name);
      } else if (place->view.sizes() != at::IntArrayRef(entry.shape)) {
        wrong_ += fmt::format("\n  {}: {} is {}, the config asks for {}", path.string(), entry.name,
                              shape_text(entry.shape), shape_text(place->view.sizes()));
        missing_.erase(entry.name);
      } else {
        at::Tensor view = place->view;
        view.copy_(file.tensor(entry));
        missing_.erase(entry.name);
      }
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
  const std::vector<fs::path> files = weight_files(folder);
  model::Weights weights = model::empty_weights(config, at::TensorOptions().dtype(dtype).device(device));
  Loader loader(folder, model::named_tensors(weights, config));
  for (const fs::path& file : files) loader.load(file, config.tie_word_embeddings);
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
