#include "rrhf/checkpoint/tensor_source.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <functional>
#include <unordered_map>
#include <variant>

#include "rrhf/checkpoint/dtypes.h"
#include "rrhf/checkpoint/tensor_file.h"
#include "rrhf/checkpoint/torch_file.h"
#include "rrhf/core/error.h"
#include "rrhf/format/name_list.h"
#include "rrhf/format/weight_files.h"

namespace rrhf::checkpoint {
namespace fs = std::filesystem;
namespace {

// Old checkpoints carry this buffer; it follows from the config.
bool is_rotary_buffer(std::string_view name) { return name.ends_with("rotary_emb.inv_freq"); }

using AnyFile = std::variant<TensorFile, TorchFile>;

AnyFile open_file(const fs::path& path) {
  if (path.extension() == ".safetensors") return TensorFile(path);
  return TorchFile(path);
}

}  // namespace

struct TensorSource::State {
  // Where a tensor of the list is: an entry of an open file.
  struct Place {
    std::size_t file = 0;
    std::size_t entry = 0;
  };

  fs::path path;
  std::vector<fs::path> files;
  std::vector<AnyFile> open;
  std::vector<TensorInfo> tensors;
  std::vector<Place> places;                                   // of tensors[i]
  std::unordered_map<std::string_view, std::size_t> index_of;  // names point into tensors

  void list_tensors(std::size_t file, std::vector<std::string>& not_floating);
  void check_names() const;
  void check_index(const format::WeightFiles& found) const;
  const Place& place_of(const TensorInfo& info) const;
  std::string file_name(std::size_t file) const { return files[file].filename().string(); }
};

// Appends the tensors of a file, and to `not_floating` what can't be one of a model.
void TensorSource::State::list_tensors(std::size_t file, std::vector<std::string>& not_floating) {
  const auto list = [&](const auto& holder) {
    const auto& entries = holder.entries();
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (is_rotary_buffer(entries[i].name)) continue;
      const auto dtype = float_dtype(entries[i].dtype);
      if (!dtype) {
        not_floating.push_back(fmt::format("{} ({})", entries[i].name, entries[i].dtype));
        continue;
      }
      tensors.push_back({entries[i].name, *dtype, entries[i].shape, file});
      places.push_back({file, i});
    }
  };
  std::visit(list, open[file]);
}

// A name that leads to another tensor than its own stands twice.
void TensorSource::State::check_names() const {
  std::vector<std::string> twice;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::size_t other = index_of.at(tensors[i].name);
    if (other == i) continue;
    twice.push_back(
        fmt::format("{} (in {} and {})", tensors[i].name, file_name(tensors[other].file), file_name(tensors[i].file)));
  }
  if (!twice.empty()) {
    throw_input("checkpoint", "{}: a tensor must stand in one file; in two: {}", path.string(),
                format::name_list(twice));
  }
}

void TensorSource::State::check_index(const format::WeightFiles& found) const {
  std::vector<std::string> absent, elsewhere, unlisted;
  for (const auto& [name, shard] : found.shard_of) {
    if (is_rotary_buffer(name)) continue;
    const auto at = index_of.find(name);
    if (at == index_of.end()) {
      absent.push_back(fmt::format("{} (expected in {})", name, shard));
    } else if (const std::string actual = file_name(tensors[at->second].file); actual != shard) {
      elsewhere.push_back(fmt::format("{} (in {}, not {})", name, actual, shard));
    }
  }
  for (const TensorInfo& info : tensors) {
    if (!found.shard_of.contains(info.name))
      unlisted.push_back(fmt::format("{} ({})", info.name, file_name(info.file)));
  }
  std::string problems;
  if (!absent.empty()) problems += "\n  in the index, in no file: " + format::name_list(absent);
  if (!elsewhere.empty()) problems += "\n  in another file than the index says: " + format::name_list(elsewhere);
  if (!unlisted.empty()) problems += "\n  in a file, not in the index: " + format::name_list(unlisted);
  if (!problems.empty()) throw_input("checkpoint", "{}: index and files disagree:{}", found.index.string(), problems);
}

const TensorSource::State::Place& TensorSource::State::place_of(const TensorInfo& info) const {
  const auto at = index_of.find(info.name);
  if (at == index_of.end()) throw_error("checkpoint", "{}: holds no tensor {}", path.string(), info.name);
  return places[at->second];
}

std::int64_t TensorInfo::numel() const {
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) count *= extent;
  return count;
}

std::int64_t TensorInfo::bytes() const { return numel() * static_cast<std::int64_t>(at::elementSize(dtype)); }

TensorSource::TensorSource(const fs::path& path) : state_(std::make_unique<State>()) {
  format::WeightFiles found = format::find_weight_files(path);
  state_->path = path;
  state_->files = std::move(found.files);
  std::vector<std::string> not_floating;
  for (std::size_t file = 0; file < state_->files.size(); ++file) {
    state_->open.push_back(open_file(state_->files[file]));
    state_->list_tensors(file, not_floating);
  }
  if (!not_floating.empty()) {
    throw_input("checkpoint", "{}: tensors of F32, F16, BF16 or F64 are needed; these are not: {}", path.string(),
                format::name_list(not_floating));
  }
  for (std::size_t i = 0; i < state_->tensors.size(); ++i) state_->index_of.emplace(state_->tensors[i].name, i);
  state_->check_names();
  if (!found.index.empty()) state_->check_index(found);
  if (state_->tensors.empty()) throw_input("checkpoint", "{}: holds no tensors", path.string());
}

TensorSource::~TensorSource() = default;
TensorSource::TensorSource(TensorSource&&) noexcept = default;
TensorSource& TensorSource::operator=(TensorSource&&) noexcept = default;

const fs::path& TensorSource::path() const noexcept { return state_->path; }
const std::vector<fs::path>& TensorSource::files() const noexcept { return state_->files; }
const std::vector<TensorInfo>& TensorSource::tensors() const noexcept { return state_->tensors; }

const TensorInfo* TensorSource::find(std::string_view name) const {
  const auto at = state_->index_of.find(name);
  return at == state_->index_of.end() ? nullptr : &state_->tensors[at->second];
}

at::Tensor TensorSource::tensor(const TensorInfo& info) const {
  const State::Place& place = state_->place_of(info);
  return std::visit([&](const auto& file) { return file.tensor(file.entries()[place.entry]); },
                    state_->open[place.file]);
}

void TensorSource::release(const TensorInfo& info) const {
  const State::Place& place = state_->place_of(info);
  std::visit([&](const auto& file) { file.release(file.entries()[place.entry]); }, state_->open[place.file]);
}

}  // namespace rrhf::checkpoint
