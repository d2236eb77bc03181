#include "rrhf/checkpoint/hf_folder.h"

#include <ATen/ATen.h>

#include "rrhf/checkpoint/folder_files.h"
#include "rrhf/checkpoint/folder_writer.h"
#include "rrhf/checkpoint/tensor_match.h"
#include "rrhf/checkpoint/tensor_source.h"
#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/text/tokenizer.h"

namespace rrhf::checkpoint {
namespace fs = std::filesystem;
namespace {

constexpr const char* note_file = "rrhf.json";

void save_weights(const fs::path& folder, const std::vector<model::NamedTensor>& tensors, at::ScalarType dtype,
                  std::int64_t shard_bytes) {
  std::vector<TensorSpec> specs;
  for (const model::NamedTensor& tensor : tensors) specs.push_back({tensor.name, dtype, tensor.view.sizes().vec()});
  FolderWriter writer(folder, std::move(specs), {.shard_bytes = shard_bytes});
  for (const model::NamedTensor& tensor : tensors) writer.write(tensor.view);
  writer.finish();
}

}  // namespace

model::LlamaConfig load_config(const fs::path& folder) {
  if (!is_folder(folder)) throw_input("checkpoint", "{}: no such model folder", folder.string());
  if (!path_exists(folder / "config.json")) throw_input("checkpoint", "{}: has no config.json", folder.string());
  return model::read_llama_config(folder / "config.json");
}

model::Weights load_weights(const fs::path& folder, const model::LlamaConfig& config, at::ScalarType dtype,
                            at::Device device) {
  const TensorSource source(folder);
  const std::vector<const TensorInfo*> found = match_tensors(source, config);
  model::Weights weights = model::empty_weights(config, at::TensorOptions().dtype(dtype).device(device));
  const std::vector<model::NamedTensor> places = model::named_tensors(weights, config);
  for (std::size_t i = 0; i < places.size(); ++i) {
    at::Tensor place = places[i].view;
    place.copy_(source.tensor(*found[i]));
    source.release(*found[i]);  // else the file stays resident beside the weights
  }
  return weights;
}

std::optional<EncodingNote> load_encoding_note(const fs::path& folder) {
  const fs::path path = folder / note_file;
  if (!path_exists(path)) return std::nullopt;
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
  const Json json = model::to_json(config);
  write_config(folder, config, options.dtype);
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
