#include "rrhf/checkpoint/folder_writer.h"

#include "rrhf/checkpoint/file_plan.h"
#include "rrhf/core/disk_room.h"

namespace rrhf::checkpoint {

struct FolderWriter::State {
  std::filesystem::path folder;
  std::vector<PlannedFile> planned;
  FileSequence files;
};

FolderWriter::FolderWriter(std::filesystem::path folder, std::vector<TensorSpec> tensors, Options options) {
  std::int64_t bytes = 0;
  for (const TensorSpec& tensor : tensors) bytes += tensor.bytes();
  std::vector<std::vector<TensorSpec>> by_writer(1);
  by_writer.front() = std::move(tensors);
  std::vector<PlannedFile> planned = plan_files("model", std::move(by_writer), options.shard_bytes);
  require_room(folder, bytes);
  FileSequence files(folder, planned, options.sha256);
  state_ = std::make_unique<State>(State{std::move(folder), std::move(planned), std::move(files)});
}

FolderWriter::~FolderWriter() = default;

void FolderWriter::write(const at::Tensor& tensor) { state_->files.write(tensor); }

void FolderWriter::write_part(const at::Tensor& part) { state_->files.write_part(part); }

std::vector<FileHash> FolderWriter::finish() {
  std::vector<FileHash> written = state_->files.finish();
  write_index(state_->folder, "model", state_->planned);
  return written;
}

}  // namespace rrhf::checkpoint
