#include "rrhf/text/pad_token.h"

#include <functional>
#include <string>

#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/json.h"
#include "rrhf/text/tokenizer.h"

namespace rrhf::text {
namespace fs = std::filesystem;
namespace {

Json as_added_token() {
  return {{"content", pad_token}, {"lstrip", false},      {"normalized", false},
          {"rstrip", false},      {"single_word", false}, {"special", true}};
}

// Changes a file's object in place; a missing file is made from an empty one if `make` says so.
void edit(const fs::path& path, bool make, const std::function<void(Json&)>& change) {
  const bool present = path_exists(path);
  if (!present && !make) return;
  Json json = present ? parse_json(read_file(path), "tokenizer", path.string()) : Json::object();
  change(json);
  write_file_atomically(path, dump_json(json, 2) + "\n");
}

bool lists(const Json& tokens, std::int32_t id) {
  for (const Json& token : tokens) {
    if (token.is_object() && token.value("id", Json()) == id) return true;
  }
  return false;
}

}  // namespace

std::int32_t next_pad_id(const fs::path& folder) {
  const auto tokenizer = Tokenizer::load(folder);
  if (const auto pad = tokenizer.pad_id()) {
    throw_input("tokenizer", "{}: has the padding token {} (id {}) already", folder.string(), tokenizer.piece(*pad),
                *pad);
  }
  for (std::int64_t id = 0; id < tokenizer.size(); ++id) {
    if (tokenizer.piece(static_cast<std::int32_t>(id)) == pad_token) return static_cast<std::int32_t>(id);
  }
  return static_cast<std::int32_t>(tokenizer.size());
}

std::int32_t add_pad_token(const fs::path& folder) {
  const std::int32_t id = next_pad_id(folder);
  edit(folder / "special_tokens_map.json", true, [](Json& json) { json["pad_token"] = pad_token; });
  edit(folder / "added_tokens.json", true, [&](Json& json) { json[std::string(pad_token)] = id; });
  edit(folder / "tokenizer_config.json", false, [&](Json& json) {
    json["pad_token"] = pad_token;
    const auto decoder = json.find("added_tokens_decoder");
    if (decoder != json.end() && decoder->is_object()) (*decoder)[std::to_string(id)] = as_added_token();
  });
  edit(folder / "tokenizer.json", false, [&](Json& json) {
    if (!json.contains("added_tokens") || !json["added_tokens"].is_array()) json["added_tokens"] = Json::array();
    Json token = {{"id", id}};
    token.update(as_added_token());
    if (!lists(json["added_tokens"], id)) json["added_tokens"].push_back(token);
  });
  return id;
}

}  // namespace rrhf::text
