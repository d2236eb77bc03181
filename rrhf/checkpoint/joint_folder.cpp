#include "rrhf/checkpoint/joint_folder.h"

#include "rrhf/checkpoint/file_plan.h"
#include "rrhf/core/disk_room.h"

namespace rrhf::checkpoint {
namespace {

// The writer of each batch: runs of batches, cut where the bytes before them reach the next writer's share.
std::vector<std::size_t> writers_of(const std::vector<TensorBatch>& batches, std::size_t writers) {
  std::vector<std::int64_t> begins;
  std::int64_t total = 0;
  for (const TensorBatch& batch : batches) {
    begins.push_back(total);
    for (const TensorSpec& spec : batch.specs) total += spec.bytes();
  }
  std::vector<std::size_t> result;
  for (std::size_t i = 0; i < batches.size(); ++i) {
    const std::int64_t end = i + 1 < batches.size() ? begins[i + 1] : total;
    const double middle = static_cast<double>(begins[i] + end) / 2;
    const double share = total == 0 ? 0 : middle / static_cast<double>(total);
    result.push_back(std::min(writers - 1, static_cast<std::size_t>(share * static_cast<double>(writers))));
  }
  return result;
}

}  // namespace

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
  const std::vector<std::size_t> writer_of = writers_of(batches, writers.size());
  std::vector<std::vector<TensorSpec>> by_writer(writers.size());
  for (std::size_t i = 0; i < batches.size(); ++i) {
    auto& specs = by_writer[writer_of[i]];
    specs.insert(specs.end(), batches[i].specs.begin(), batches[i].specs.end());
  }
  const std::vector<PlannedFile> planned = plan_files(stem, std::move(by_writer), file_bytes);
  std::vector<PlannedFile> own;
  for (const PlannedFile& file : planned) {
    if (file.writer == writers.rank()) own.push_back(file);
  }
  FileSequence files(folder, std::move(own), /*sha256=*/false);
  for (std::size_t i = 0; i < batches.size(); ++i) {
    const std::vector<at::Tensor> tensors = batches[i].whole();
    if (writer_of[i] != writers.rank()) continue;
    for (const at::Tensor& tensor : tensors) files.write(tensor);
  }
  files.finish();
  if (writers.rank() == 0) write_index(folder, stem, planned);
}

}  // namespace rrhf::checkpoint
