#include "rrhf/format/weight_files.h"

#include <algorithm>
#include <array>
#include <set>
#include <string_view>

#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/json.h"
#include "rrhf/format/bytes.h"
#include "rrhf/format/name_list.h"

namespace rrhf::format {
namespace fs = std::filesystem;
namespace {

// In the order of transformers.
constexpr std::array named{"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
                           "pytorch_model.bin.index.json"};

// Links are followed.
bool is_regular(const fs::path& path) {
  std::error_code failure;
  return path_exists(path) && fs::is_regular_file(path, failure);
}

// A name that can only mean a file of the same folder.
bool is_plain_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.find_first_of(std::string_view("/\\\0", 3)) == name.npos;
}

std::map<std::string, std::string> read_weight_map(const fs::path& path) {
  const Json index = parse_json(read_file(path), "checkpoint", path.string());
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    throw_input("checkpoint", "{}: has no weight_map", path.string());
  }
  std::map<std::string, std::string> shard_of;
  for (const auto& [tensor, file] : index["weight_map"].items()) {
    if (!file.is_string() || !is_plain_name(file.get<std::string>())) {
      throw_input("checkpoint", "{}: {} is mapped to {}; the name of a file in the same folder is needed",
                  path.string(), shown(tensor), dump_json(file));
    }
    shard_of[tensor] = file.get<std::string>();
  }
  if (shard_of.empty()) throw_input("checkpoint", "{}: the weight_map is empty", path.string());
  return shard_of;
}

WeightFiles indexed_files(const fs::path& index) {
  WeightFiles found{.files = {}, .index = index, .shard_of = read_weight_map(index)};
  std::set<std::string> names;
  for (const auto& [tensor, file] : found.shard_of) names.insert(file);
  std::vector<std::string> absent, odd;
  for (const std::string& name : names) {
    const fs::path& file = found.files.emplace_back(index.parent_path() / name);
    if (!path_exists(file)) {
      absent.push_back(name);
    } else if (!is_regular(file)) {
      odd.push_back(fmt::format("{} is {}", name, kind_of_file(file)));
    }
  }
  if (!absent.empty()) {
    throw_input("checkpoint", "{}: {} of the {} files it names are not there: {}", index.string(), absent.size(),
                names.size(), name_list(absent));
  }
  if (!odd.empty()) throw_input("checkpoint", "{}: regular files are needed; {}", index.string(), name_list(odd));
  return found;
}

std::vector<fs::path> files_with_suffix(const fs::path& folder, std::string_view suffix) {
  std::vector<fs::path> files;
  std::error_code failure;
  for (const auto& entry : fs::directory_iterator(folder, failure)) {
    const fs::path& path = entry.path();
    if (path.extension() == suffix && path.filename() != "training_args.bin" && is_regular(path)) files.push_back(path);
  }
  if (failure) throw_input("checkpoint", "{}: {}", folder.string(), failure.message());
  std::ranges::sort(files);
  return files;
}

// What stands under the names of weights, and is no file: "; model.safetensors is a FIFO".
std::string misnamed(const fs::path& folder) {
  std::string text;
  for (const char* name : named) {
    const std::string_view kind = kind_of_file(folder / name);
    if (kind != "nothing") text += fmt::format("; {} is {}", name, kind);
  }
  return text;
}

}  // namespace

void refuse_meta_layout(const fs::path& folder) {
  if (!path_exists(folder / "params.json") && !path_exists(folder / "consolidated.00.pth")) return;
  throw_input("checkpoint",
              "{}: holds a LLaMA in Meta's layout (params.json, consolidated.00.pth); Hugging Face's is needed: "
              "config.json, tokenizer.model and weights as safetensors or .bin. convert_llama_weights_to_hf.py of the "
              "transformers repository (src/transformers/models/llama) writes such a folder",
              folder.string());
}

WeightFiles find_weight_files(const fs::path& path) {
  if (!path_exists(path)) throw_input("checkpoint", "{}: no such folder or file", path.string());
  if (!is_folder(path)) {
    require_regular_file(path);
    return {.files = {path}, .index = {}, .shard_of = {}};
  }
  for (const std::string_view name : named) {
    if (!is_regular(path / name)) continue;
    if (name.ends_with(".index.json")) return indexed_files(path / name);
    return {.files = {path / name}, .index = {}, .shard_of = {}};
  }
  for (const char* suffix : {".safetensors", ".bin"}) {
    if (auto files = files_with_suffix(path, suffix); !files.empty())
      return {.files = std::move(files), .index = {}, .shard_of = {}};
  }
  refuse_meta_layout(path);
  throw_input("checkpoint",
              "{}: holds no weights: neither model.safetensors nor pytorch_model.bin, nor the index of shards of "
              "either, nor any other *.safetensors or *.bin{}",
              path.string(), misnamed(path));
}

}  // namespace rrhf::format
