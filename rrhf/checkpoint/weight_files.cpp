#include "rrhf/checkpoint/weight_files.h"

#include <algorithm>
#include <optional>
#include <set>

#include "rrhf/checkpoint/name_list.h"
#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/json.h"
#include "rrhf/format/bytes.h"

namespace rrhf::checkpoint {
namespace fs = std::filesystem;
namespace {

constexpr const char* index_suffix = ".index.json";

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
                  path.string(), format::shown(tensor), dump_json(file));
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
  std::vector<std::string> absent;
  for (const std::string& name : names) {
    found.files.push_back(index.parent_path() / name);
    if (!path_exists(found.files.back())) absent.push_back(name);
  }
  if (!absent.empty()) {
    throw_input("checkpoint", "{}: {} of the {} files it names are not there: {}", index.string(), absent.size(),
                names.size(), name_list(absent));
  }
  return found;
}

bool is_regular(const fs::directory_entry& entry) {
  std::error_code ignored;
  return entry.is_regular_file(ignored);
}

std::vector<fs::path> files_with_suffix(const fs::path& folder, std::string_view suffix) {
  std::vector<fs::path> files;
  std::error_code failure;
  for (const auto& entry : fs::directory_iterator(folder, failure)) {
    const fs::path name = entry.path().filename();
    if (is_regular(entry) && name.extension() == suffix && name != "training_args.bin") files.push_back(entry.path());
  }
  if (failure) throw_input("checkpoint", "{}: {}", folder.string(), failure.message());
  std::ranges::sort(files);
  return files;
}

}  // namespace

WeightFiles find_weight_files(const fs::path& path) {
  if (!path_exists(path)) throw_input("checkpoint", "{}: no such folder or file", path.string());
  if (!is_folder(path)) return {.files = {path}, .index = {}, .shard_of = {}};
  for (const char* single : {"model.safetensors", "pytorch_model.bin"}) {
    if (path_exists(path / single)) return {.files = {path / single}, .index = {}, .shard_of = {}};
    if (fs::path index = path / single; path_exists(index += index_suffix)) return indexed_files(index);
  }
  for (const char* suffix : {".safetensors", ".bin"}) {
    if (auto files = files_with_suffix(path, suffix); !files.empty())
      return {.files = std::move(files), .index = {}, .shard_of = {}};
  }
  throw_input("checkpoint",
              "{}: holds no weights: neither model.safetensors nor pytorch_model.bin, nor the index of shards of "
              "either, nor any other *.safetensors or *.bin",
              path.string());
}

}  // namespace rrhf::checkpoint
