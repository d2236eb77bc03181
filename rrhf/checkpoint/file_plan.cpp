#include "rrhf/checkpoint/file_plan.h"

#include <algorithm>
#include <iterator>
#include <numeric>
#include <optional>
#include <set>

#include "rrhf/checkpoint/folder_files.h"
#include "rrhf/core/error.h"
#include "rrhf/core/json.h"

namespace rrhf::checkpoint {
namespace {

void require_different_names(const std::vector<PlannedFile>& files) {
  std::set<std::string_view> names;
  for (const PlannedFile& file : files) {
    for (const TensorSpec& tensor : file.tensors) {
      if (!names.insert(tensor.name).second) throw_error("checkpoint", "{} would be written twice", tensor.name);
    }
  }
}

// Splits the tensors where the next one would pass the size of a file.
void add_files(std::vector<TensorSpec> tensors, std::size_t writer, std::int64_t file_bytes,
               std::vector<PlannedFile>& files) {
  std::int64_t filled = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::int64_t bytes = tensors[i].bytes();
    if (i == 0 || (filled > 0 && filled + bytes > file_bytes)) {
      files.push_back({.name = {}, .tensors = {}, .writer = writer});
      filled = 0;
    }
    filled += bytes;
    files.back().tensors.push_back(std::move(tensors[i]));
  }
}

}  // namespace

std::vector<PlannedFile> plan_files(std::string_view stem, std::vector<std::vector<TensorSpec>> by_writer,
                                    std::int64_t file_bytes) {
  std::vector<PlannedFile> files;
  for (std::size_t writer = 0; writer < by_writer.size(); ++writer) {
    add_files(std::move(by_writer[writer]), writer, file_bytes, files);
  }
  if (files.empty()) files.emplace_back();
  for (std::size_t i = 0; i < files.size(); ++i) {
    files[i].name = files.size() == 1 ? fmt::format("{}.safetensors", stem)
                                      : fmt::format("{}-{:05}-of-{:05}.safetensors", stem, i + 1, files.size());
  }
  require_different_names(files);
  return files;
}

std::vector<std::size_t> share_out(const std::vector<std::int64_t>& bytes, std::size_t writers) {
  const std::int64_t total = std::accumulate(bytes.begin(), bytes.end(), std::int64_t{0});
  std::vector<std::size_t> result;
  std::int64_t begin = 0;
  for (const std::int64_t own : bytes) {  // an item goes where its middle falls
    const double middle = static_cast<double>(begin) + static_cast<double>(own) / 2;
    const double share = total == 0 ? 0 : middle / static_cast<double>(total);
    result.push_back(std::min(writers - 1, static_cast<std::size_t>(share * static_cast<double>(writers))));
    begin += own;
  }
  return result;
}

std::vector<PlannedFile> files_of(const std::vector<PlannedFile>& files, std::size_t writer) {
  std::vector<PlannedFile> own;
  std::ranges::copy_if(files, std::back_inserter(own), [&](const PlannedFile& file) { return file.writer == writer; });
  return own;
}

void write_index(const std::filesystem::path& folder, std::string_view stem, const std::vector<PlannedFile>& files) {
  if (files.size() == 1) return;
  Json map = Json::object();
  std::int64_t total = 0;
  for (const PlannedFile& file : files) {
    for (const TensorSpec& tensor : file.tensors) {
      map[tensor.name] = file.name;
      total += tensor.bytes();
    }
  }
  write_json(folder / fmt::format("{}.safetensors.index.json", stem),
             {{"metadata", {{"total_size", total}}}, {"weight_map", map}});
}

struct FileSequence::State {
  std::filesystem::path folder;
  std::vector<PlannedFile> planned;
  bool sha256;
  std::size_t next = 0;  // file to open
  std::optional<TensorFileWriter> writer;
  std::vector<FileHash> done;

  // The file that takes the next tensor.
  TensorFileWriter& open() {
    if (writer && writer->complete() && next < planned.size()) close();
    if (!writer) {
      writer.emplace(folder / planned[next].name, planned[next].tensors, sha256);
      ++next;
    }
    return *writer;
  }

  void close() {
    done.push_back(writer->finish());
    writer.reset();
  }
};

FileSequence::FileSequence(std::filesystem::path folder, std::vector<PlannedFile> files, bool sha256)
    : state_(
          std::make_unique<State>(State{.folder = std::move(folder), .planned = std::move(files), .sha256 = sha256})) {
  if (!state_->planned.empty()) state_->open();
}

FileSequence::~FileSequence() = default;
FileSequence::FileSequence(FileSequence&&) noexcept = default;

void FileSequence::write(const at::Tensor& tensor) { state_->open().write(tensor); }

void FileSequence::write_part(const at::Tensor& part) { state_->open().write_part(part); }

std::vector<FileHash> FileSequence::finish() {
  if (state_->writer) state_->close();
  if (state_->next < state_->planned.size()) {
    throw_error("checkpoint", "{}: {} was announced and not written", state_->folder.string(),
                state_->planned[state_->next].tensors.front().name);
  }
  return state_->done;
}

}  // namespace rrhf::checkpoint
