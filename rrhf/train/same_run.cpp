#include "rrhf/train/same_run.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "rrhf/core/error.h"
#include "rrhf/core/json.h"
#include "rrhf/core/mapped_file.h"
#include "rrhf/core/sha256.h"

namespace rrhf::train {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t piece = 64 * 1024, pieces = 16;

std::string sampled_hash(const fs::path& path) {
  const MappedFile file(path);
  const auto bytes = file.bytes();
  Sha256 hash;
  if (bytes.size() <= piece * pieces) {
    hash.update(bytes);
    return hash.hex();
  }
  for (std::size_t i = 0; i < pieces; ++i) hash.update(bytes.subspan((bytes.size() - piece) * i / (pieces - 1), piece));
  return hash.hex();
}

bool read_by_training(const fs::path& path) {
  static constexpr std::array<std::string_view, 6> kinds{".json", ".safetensors", ".bin", ".pt", ".pth", ".model"};
  const std::string ending = path.extension().string();
  return std::ranges::find(kinds, std::string_view(ending)) != kinds.end();
}

// "train.seed: 42", a line a setting.
void add_lines(const Json& json, const std::string& prefix, std::string& text) {
  for (const auto& [key, value] : json.items()) {
    const std::string path = prefix.empty() ? key : prefix + "." + key;
    if (value.is_object()) {
      add_lines(value, path, text);
    } else {
      text += path + ": " + dump_json(value) + "\n";
    }
  }
}

std::string settings_text(const config::RunConfig& config) {
  std::string text;
  add_lines(config::to_json(config), "", text);
  return text;
}

}  // namespace

std::string folder_fingerprint(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code failure;
  for (const auto& entry : fs::directory_iterator(folder, failure)) {
    if (entry.is_regular_file() && read_by_training(entry.path())) files.push_back(entry.path());
  }
  if (failure) throw_input("model", "{}: can't be read: {}", folder.string(), failure.message());
  std::ranges::sort(files);
  std::string text;
  for (const fs::path& file : files) {
    text += fmt::format("{}: {} bytes, sample {}\n", file.filename().string(), fs::file_size(file),
                        sampled_hash(file).substr(0, 16));
  }
  return text;
}

void require_same_run(const distributed::World& world, const config::RunConfig& config, const ModelFolder& folder,
                      const std::string& data) {
  if (world.size() == 1) return;
  world.require_same("program", fmt::format("rrhf {}, sha256 {}", RRHF_VERSION, sha256_of_file("/proc/self/exe")));
  world.require_same("config", settings_text(config));
  world.require_same("model", folder_fingerprint(folder.path));
  world.require_same("data", data);
}

}  // namespace rrhf::train
