#include "rrhf/checkpoint/folder_files.h"

#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/model/weights.h"
#include "rrhf/text/tokenizer.h"

namespace rrhf::checkpoint {
namespace fs = std::filesystem;
namespace {

constexpr const char* generation_file = "generation_config.json";

// Content alone: a read-only source must not give files that can't be changed.
void copy_content(const fs::path& from, const fs::path& to, const char* name) {
  if (path_exists(from / name)) write_file_atomically(to / name, read_file(from / name));
}

// A tokenizer_config.json with a class that transformers has.
std::string with_known_class(const std::string& content, const fs::path& path) {
  constexpr std::string_view old_class = "LLaMATokenizer";
  if (content.find(old_class) == std::string::npos) return content;
  Json json = parse_json(content, "checkpoint", path.string());
  const auto named = json.find("tokenizer_class");  // none in what is no object
  if (named == json.end() || !named->is_string() || named->get<std::string>() != old_class) return content;
  json["tokenizer_class"] = "LlamaTokenizer";
  return dump_json(json, 2) + "\n";
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
  write_json(folder / generation_file, generation);
}

void carry_tokenizer(const fs::path& from, const fs::path& to) {
  for (const fs::path& file : text::tokenizer_files(from)) {
    std::string content = read_file(file);
    if (file.filename() == "tokenizer_config.json") content = with_known_class(content, file);
    write_file_atomically(to / file.filename(), content);
  }
}

void carry_over(const fs::path& from, const fs::path& to) {
  carry_tokenizer(from, to);
  copy_content(from, to, generation_file);
}

void carry_over_with_note(const fs::path& from, const fs::path& to) {
  carry_over(from, to);
  copy_content(from, to, "rrhf.json");
}

}  // namespace rrhf::checkpoint
