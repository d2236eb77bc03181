#include "rrhf/checkpoint/rewriter.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "rrhf/checkpoint/finite.h"
#include "rrhf/checkpoint/hf_folder.h"
#include "rrhf/checkpoint/padded_rows.h"
#include "rrhf/checkpoint/tensor_match.h"
#include "rrhf/core/disk_room.h"
#include "rrhf/core/error.h"
#include "rrhf/core/log.h"
#include "rrhf/model/weights.h"

namespace rrhf::checkpoint {
namespace {

// Of weights drawn around zero one in a million is as small as that; of a tensor that means something far more are.
constexpr std::int64_t odd_share = 1000;

}  // namespace

// Weights that only the new dtype makes infinite, or zero.
struct Rewriter::Losses {
  struct Count {
    std::int64_t count = 0;
    std::string first;  // the tensor

    void add(std::int64_t more, const std::string& tensor) {
      if (more > 0 && count == 0) first = tensor;
      count += more;
    }
  };
  Count beyond, to_zero;
  bool many = false;  // of one tensor more than a share became zero
};

Rewriter::Rewriter(const std::filesystem::path& from)
    : config_(load_config(from)),
      source_(from),
      tensors_(match_tensors(source_, config_)),
      carried_(from, CarriedFiles::What::tokenizer_generation_and_note) {
  warn_of_untied_head(source_, config_);
  warn_of_other_ids(from, config_);
  // In the order of the files, so that they are read from front to back.
  const TensorInfo* const first = source_.tensors().data();
  std::ranges::sort(tensors_, {}, [&](const TensorInfo* info) { return info - first; });
}

Dtype Rewriter::dtype() const { return dtype_choice(source_.find("model.embed_tokens.weight")->dtype); }

const TensorInfo* Rewriter::find(std::string_view name) const {
  const auto found = std::ranges::find(tensors_, name, &TensorInfo::name);
  return found == tensors_.end() ? nullptr : *found;
}

std::vector<TensorSpec> Rewriter::specs(const Rewrite& rewrite) const {
  std::vector<TensorSpec> specs;
  for (const TensorInfo* info : tensors_) {
    TensorSpec spec{info->name, rewrite.dtype ? model::scalar_type(*rewrite.dtype) : info->dtype, info->shape};
    if (rewrite.rows && has_vocabulary_rows(info->name)) spec.shape[0] = *rewrite.rows;
    specs.push_back(std::move(spec));
  }
  return specs;
}

std::vector<FileHash> Rewriter::write(const std::filesystem::path& folder, const Rewrite& rewrite,
                                      const Writers& writers) const {
  const std::vector<TensorSpec> specs = this->specs(rewrite);
  std::vector<std::int64_t> bytes;
  for (const TensorSpec& spec : specs) bytes.push_back(spec.bytes());
  const std::vector<std::size_t> writer_of = share_out(bytes, writers.size());
  std::vector<std::vector<TensorSpec>> by_writer(writers.size());
  std::int64_t own_bytes = 0;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    by_writer[writer_of[i]].push_back(specs[i]);
    if (writer_of[i] == writers.rank()) own_bytes += bytes[i];
  }
  const std::vector<PlannedFile> planned = plan_files("model", std::move(by_writer), rewrite.shard_bytes);
  if (writers.size() == 1) require_room(folder, own_bytes);  // else JointFolder has looked
  FileSequence files(folder, files_of(planned, writers.rank()), /*sha256=*/false);
  WalkProgress progress(rewrite.what, own_bytes, "nothing is written", rewrite.stops);
  Losses losses;
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    if (writer_of[i] != writers.rank()) continue;
    const std::int64_t before = losses.to_zero.count;
    write_tensor(*tensors_[i], specs[i], rewrite, files, progress, losses);
    losses.many |= (losses.to_zero.count - before) > specs[i].numel() / odd_share;
    source_.release(*tensors_[i]);
  }
  std::vector<FileHash> written = files.finish();
  if (writers.rank() == 0) write_index(folder, "model", planned);
  report(losses, specs);
  return written;
}

void Rewriter::report(const Losses& losses, const std::vector<TensorSpec>& specs) {
  const auto dtype_of = [&](const Losses::Count& count) {  // of the first tensor that lost
    const auto spec = std::ranges::find(specs, count.first, &TensorSpec::name);
    return name_of(dtype_choice(spec->dtype));
  };
  if (losses.beyond.count > 0) {
    throw_input("model", "{} weights are beyond the range of {}, the first in {}; bfloat16 and float32 reach farther",
                losses.beyond.count, dtype_of(losses.beyond), losses.beyond.first);
  }
  if (losses.to_zero.count > 0) {
    const std::string what = fmt::format(
        "{} weights are too small for {} and became zero, the first in {}; bfloat16 and float32 hold smaller ones",
        with_commas(losses.to_zero.count), dtype_of(losses.to_zero), losses.to_zero.first);
    losses.many ? warn("{}", what) : log("{}", what);
  }
}

void Rewriter::write_tensor(const TensorInfo& info, const TensorSpec& spec, const Rewrite& rewrite, FileSequence& files,
                            WalkProgress& progress, Losses& losses) const {
  const at::Tensor tensor = source_.tensor(info);
  // New rows are filled in the dtype of the old ones, then converted with them.
  const PaddedRows rows(tensor, spec.shape.empty() ? 1 : spec.shape[0], info.dtype, rewrite.fill);
  const auto element = static_cast<std::int64_t>(std::max(at::elementSize(info.dtype), at::elementSize(spec.dtype)));
  for_row_blocks(spec.shape, element, [&](std::int64_t first, std::int64_t count) {
    at::Tensor block = rows.block(first, count);
    if (rewrite.change) block = rewrite.change(info, first, block);
    const at::Tensor converted = block.to(spec.dtype);
    if (spec.dtype != block.scalar_type() && at::elementSize(spec.dtype) <= block.itemsize()) {
      losses.beyond.add(count_not_finite(converted) - count_not_finite(block), info.name);
      losses.to_zero.add(count_zeros(converted) - count_zeros(block), info.name);
    }
    files.write_part(converted);
    progress.advance(static_cast<std::int64_t>(converted.nbytes()));
  });
}

}  // namespace rrhf::checkpoint
