#include "rrhf/train/same_run.h"

#include <ATen/Version.h>
#include <dlfcn.h>

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

std::string file_text(const fs::path& file) {
  return fmt::format("{}: {} bytes, sample {}", file.filename().string(), fs::file_size(file),
                     sampled_hash(file).substr(0, 16));
}

std::string set_text(std::string_view what, const EncodedSet* set) {
  if (set == nullptr) return fmt::format("{}: none", what);
  return fmt::format("{}: {} queries, hash {}", what, set->size(), fingerprint(*set));
}

}  // namespace

std::string program_fingerprint() {
  std::string text = fmt::format("rrhf {}, sha256 {}", RRHF_VERSION, sha256_of_file("/proc/self/exe"));
  Dl_info library{};
  if (::dladdr(reinterpret_cast<const void*>(&at::show_config), &library) != 0 && library.dli_fname != nullptr) {
    text += fmt::format("\n{}", file_text(fs::canonical(library.dli_fname)));
  }
  return text;
}

std::string folder_fingerprint(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code failure;
  for (const auto& entry : fs::directory_iterator(folder, failure)) {
    if (entry.is_regular_file() && read_by_training(entry.path())) files.push_back(entry.path());
  }
  if (failure) throw_input("model", "{}: can't be read: {}", folder.string(), failure.message());
  std::ranges::sort(files);
  std::string text;
  for (const fs::path& file : files) text += file_text(file) + "\n";
  return text;
}

void require_same_run(const distributed::World& world, const config::RunConfig& config, const ModelFolder& folder,
                      const EncodedSet& train, const EncodedSet* held_out) {
  if (world.size() == 1) return;
  world.require_same("program", program_fingerprint());
  world.require_same("config", settings_text(config));
  world.require_same("model", folder_fingerprint(folder.path));
  world.require_same("data", set_text("trained on", &train) + "\n" + set_text("held out", held_out));
}

}  // namespace rrhf::train
