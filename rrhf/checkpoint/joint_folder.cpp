#include "rrhf/checkpoint/joint_folder.h"

#include "rrhf/checkpoint/file_plan.h"
#include "rrhf/core/disk_room.h"

namespace rrhf::checkpoint {
JointFolder::JointFolder(const std::filesystem::path& destination, std::int64_t bytes, const Writers& writers)
    : writers_(&writers) {
  if (writers.rank() == 0) {
    staged_ = std::make_unique<StagedFolder>(destination, StagedFolder::IfPresent::replace);
    require_room(staged_->path(), bytes);
  }
  path_ = writers.meet(staged_ ? staged_->path().string() : "").front();
}

void JointFolder::publish() {
  writers_->meet("");  // all files are written
  if (staged_) staged_->publish();
  writers_->meet("");  // the folder is there
}

void write_batches(const std::filesystem::path& folder, std::string_view stem, const std::vector<TensorBatch>& batches,
                   std::int64_t file_bytes, const Writers& writers) {
  std::vector<std::int64_t> bytes;
  for (const TensorBatch& batch : batches) {
    bytes.push_back(0);
    for (const TensorSpec& spec : batch.specs) bytes.back() += spec.bytes();
  }
  const std::vector<std::size_t> writer_of = share_out(bytes, writers.size());
  std::vector<std::vector<TensorSpec>> by_writer(writers.size());
  for (std::size_t i = 0; i < batches.size(); ++i) {
    auto& specs = by_writer[writer_of[i]];
    specs.insert(specs.end(), batches[i].specs.begin(), batches[i].specs.end());
  }
  const std::vector<PlannedFile> planned = plan_files(stem, std::move(by_writer), file_bytes);
  FileSequence files(folder, files_of(planned, writers.rank()), /*sha256=*/false);
  for (std::size_t i = 0; i < batches.size(); ++i) {
    const std::vector<at::Tensor> tensors = batches[i].whole();
    if (writer_of[i] != writers.rank()) continue;
    for (const at::Tensor& tensor : tensors) files.write(tensor);
  }
  files.finish();
  if (writers.rank() == 0) write_index(folder, stem, planned);
}

}  // namespace rrhf::checkpoint
