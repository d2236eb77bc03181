#include "rrhf/checkpoint/folder_files.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "rrhf/checkpoint/hf_folder.h"
#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/log.h"
#include "rrhf/model/weights.h"
#include "rrhf/text/tokenizer.h"

namespace rrhf::checkpoint {
namespace fs = std::filesystem;
namespace {

constexpr const char* generation_file = "generation_config.json";

using text::Tokenizer;

std::optional<Tokenizer> tokenizer_in(const fs::path& folder) {
  if (!has_file(folder / "tokenizer.model")) return std::nullopt;
  return Tokenizer::load(folder);
}

// The ids under which a sequence begins and ends.
struct EndIds {
  const char* key;
  std::int32_t id;
};
std::array<EndIds, 2> end_ids(const Tokenizer& tokenizer) {
  return {EndIds{"bos_token_id", tokenizer.bos_id()}, EndIds{"eos_token_id", tokenizer.eos_id()}};
}

// A list of ids (LLaMA 3 has several that end a text) agrees when the tokenizer's is among them.
bool agrees(const Json& ids, std::int32_t id) {
  if (!ids.is_array()) return ids == id;
  return std::any_of(ids.begin(), ids.end(), [&](const Json& each) { return each == id; });
}

// Sets the tokenizer's ids where others stand. Whether there were any.
bool take_ids(Json& generation, const Tokenizer& tokenizer) {
  bool changed = false;
  for (const auto& [key, id] : end_ids(tokenizer)) {
    if (generation.contains(key) && agrees(generation[key], id)) continue;
    generation[key] = id;
    changed = true;
  }
  return changed;
}

Json object_of(const std::string& content, const fs::path& file) {
  // Two equal keys are transformers' affair, which takes the last.
  Json json = parse_json(content, "checkpoint", file.string(), {.repeated_keys = true});
  if (!json.is_object()) throw_input("checkpoint", "{}: is {}; an object is needed", file.string(), describe(json));
  return json;
}

std::string text_of(const Json& json) { return dump_json(json, 2) + "\n"; }

// A special token that is declared as "": transformers takes its id for <unk>'s.
bool is_empty_token(const Json& token) {
  return token == "" || (token.is_object() && token.value("content", Json()) == "");
}

// What LLaMA's first conversions have wrong in the files that declare tokens, mended. Whether there was anything.
bool mend_declarations(Json& json, const std::optional<Tokenizer>& tokenizer) {
  bool changed = false;
  if (json.value("tokenizer_class", Json()) == "LLaMATokenizer") {
    json["tokenizer_class"] = "LlamaTokenizer";
    changed = true;
  }
  if (!tokenizer) return changed;
  for (const auto& [role, id] :
       {std::pair{"bos_token", tokenizer->bos_id()}, std::pair{"eos_token", tokenizer->eos_id()},
        std::pair{"unk_token", tokenizer->unk_id()}}) {
    if (!json.contains(role) || !is_empty_token(json[role])) continue;
    (json[role].is_object() ? json[role]["content"] : json[role]) = tokenizer->piece(id);
    changed = true;
  }
  return changed;
}

}  // namespace

void write_json(const fs::path& path, const Json& json) { write_file_atomically(path, dump_json(json, 2) + "\n"); }

Dtype dtype_choice(at::ScalarType dtype) {
  for (const auto& [name, choice] : Choices<Dtype>::names) {
    if (model::scalar_type(choice) == dtype) return choice;
  }
  throw_error("checkpoint", "tensors of type {} have no place in a checkpoint", at::toString(dtype));
}

void write_configs(const fs::path& folder, const model::LlamaConfig& config, Dtype dtype) {
  Json json = model::to_json(config);
  json["torch_dtype"] = name_of(dtype);
  json.erase("dtype");  // transformers 5's word for the same; two words could disagree
  write_json(folder / "config.json", json);
  if (path_exists(folder / generation_file)) return;
  Json generation = {{"_from_model_config", true}};
  for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"}) {
    if (json.contains(key) && !json[key].is_null()) generation[key] = json[key];
  }
  if (const auto tokenizer = tokenizer_in(folder)) take_ids(generation, *tokenizer);
  write_json(folder / generation_file, generation);
}

void warn_of_other_ids(const fs::path& folder, const model::LlamaConfig& config) {
  const auto tokenizer = tokenizer_in(folder);
  if (!tokenizer) return;
  const auto compare = [&](const char* key, const std::optional<std::int64_t>& given, std::int32_t id) {
    if (!given || *given == id || agrees(config.source.value(key, Json()), id)) return;
    warn("{} is {} in {}'s config.json and {} ({}) in its tokenizer, which decoding must go by", key, *given,
         folder.string(), id, tokenizer->piece(id));
  };
  compare("bos_token_id", config.bos_token_id, tokenizer->bos_id());
  compare("eos_token_id", config.eos_token_id, tokenizer->eos_id());
}

std::vector<FileHash> hash_small_files(const fs::path& folder) {
  std::vector<fs::path> files = text::tokenizer_files(folder);
  for (const char* name : {"config.json", generation_file, "rrhf.json"}) {
    if (has_file(folder / name)) files.push_back(folder / name);
  }
  std::ranges::sort(files);
  std::vector<FileHash> hashes = file_sizes(files);
  for (std::size_t i = 0; i < files.size(); ++i) hashes[i].sha256 = sha256_of_file(files[i]);
  return hashes;
}

CarriedFiles::CarriedFiles(const fs::path& from, What what) {
  const auto tokenizer = tokenizer_in(from);
  if (what != What::generation_and_note) {
    for (const fs::path& file : text::tokenizer_files(from)) {
      std::string content = read_file(file);
      if (file.extension() == ".json") {
        Json json = object_of(content, file);
        const bool declares = file.filename() != "tokenizer.json" && file.filename() != "added_tokens.json";
        if (declares && mend_declarations(json, tokenizer)) content = text_of(json);
      }
      files_.push_back({file.filename().string(), std::move(content)});
    }
  }
  if (what == What::tokenizer) return;
  if (const fs::path file = from / generation_file; has_file(file)) {
    std::string content = read_file(file);
    Json json = object_of(content, file);
    const bool made_of_config = json.value("_from_model_config", Json()) == true;
    if (made_of_config && tokenizer && take_ids(json, *tokenizer)) content = text_of(json);
    files_.push_back({generation_file, std::move(content)});
  }
  if (what == What::tokenizer_and_generation) return;
  if (load_encoding_note(from)) files_.push_back({"rrhf.json", read_file(from / "rrhf.json")});
}

// Content alone: a read-only source must not give files that can't be changed.
void CarriedFiles::write(const fs::path& to) const {
  for (const auto& [name, content] : files_) write_file_atomically(to / name, content);
}

}  // namespace rrhf::checkpoint
