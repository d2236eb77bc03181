#include "rrhf/checkpoint/folder_writer.h"

#include <optional>
#include <set>
#include <string>

#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/json.h"

namespace rrhf::checkpoint {
namespace {

// Splits the tensors where the next one would pass the shard size.
std::vector<std::vector<TensorSpec>> split_into_shards(std::vector<TensorSpec> tensors, std::int64_t shard_bytes) {
  std::vector<std::vector<TensorSpec>> shards(1);
  std::int64_t filled = 0;
  for (TensorSpec& tensor : tensors) {
    const std::int64_t bytes = tensor.bytes();
    if (filled > 0 && filled + bytes > shard_bytes) {
      shards.emplace_back();
      filled = 0;
    }
    filled += bytes;
    shards.back().push_back(std::move(tensor));
  }
  return shards;
}

void require_different_names(const std::vector<TensorSpec>& tensors) {
  std::set<std::string_view> names;
  for (const TensorSpec& tensor : tensors) {
    if (!names.insert(tensor.name).second) throw_error("checkpoint", "{} would be written twice", tensor.name);
  }
}

}  // namespace

struct FolderWriter::State {
  std::filesystem::path folder;
  Options options;
  std::vector<std::vector<TensorSpec>> shards;
  std::size_t next = 0;  // shard to open
  std::optional<TensorFileWriter> writer;
  std::vector<FileHash> files;

  std::string file_name(std::size_t shard) const {
    if (shards.size() == 1) return "model.safetensors";
    return fmt::format("model-{:05}-of-{:05}.safetensors", shard + 1, shards.size());
  }

  // The shard that takes the next tensor.
  TensorFileWriter& open_shard() {
    if (writer && writer->complete() && next < shards.size()) close_shard();
    if (!writer) {
      writer.emplace(folder / file_name(next), shards[next], options.sha256);
      ++next;
    }
    return *writer;
  }

  void close_shard() {
    files.push_back(writer->finish());
    writer.reset();
  }

  void write_index() const {
    Json map = Json::object();
    std::int64_t total = 0;
    for (std::size_t i = 0; i < shards.size(); ++i) {
      for (const TensorSpec& tensor : shards[i]) {
        map[tensor.name] = file_name(i);
        total += tensor.bytes();
      }
    }
    const Json index = {{"metadata", {{"total_size", total}}}, {"weight_map", map}};
    write_file_atomically(folder / "model.safetensors.index.json", dump_json(index, 2) + "\n");
  }
};

FolderWriter::FolderWriter(std::filesystem::path folder, std::vector<TensorSpec> tensors, Options options)
    : state_(std::make_unique<State>()) {
  require_different_names(tensors);
  state_->folder = std::move(folder);
  state_->options = options;
  state_->shards = split_into_shards(std::move(tensors), options.shard_bytes);
  state_->open_shard();
}

FolderWriter::~FolderWriter() = default;

void FolderWriter::write(const at::Tensor& tensor) { state_->open_shard().write(tensor); }

void FolderWriter::write_part(const at::Tensor& part) { state_->open_shard().write_part(part); }

std::vector<FileHash> FolderWriter::finish() {
  state_->close_shard();
  if (state_->files.size() < state_->shards.size()) {
    throw_error("checkpoint", "{}: {} was announced and not written", state_->folder.string(),
                state_->shards[state_->next].front().name);
  }
  if (state_->shards.size() > 1) state_->write_index();
  return state_->files;
}

}  // namespace rrhf::checkpoint
