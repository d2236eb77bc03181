#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "rrhf/checkpoint/delta.h"
#include "rrhf/checkpoint/delta_manifest.h"
#include "rrhf/checkpoint/delta_pairs.h"
#include "rrhf/checkpoint/finite.h"
#include "rrhf/checkpoint/folder_files.h"
#include "rrhf/checkpoint/padded_rows.h"
#include "rrhf/checkpoint/walk.h"
#include "rrhf/core/error.h"
#include "rrhf/core/staged_folder.h"
#include "rrhf/model/weights.h"

namespace rrhf::checkpoint {
namespace {

class Maker {
 public:
  explicit Maker(const MakeDelta& settings)
      : settings_(settings),
        pair_(settings.base, settings.target, "target"),
        embedding_(*pair_.other().find("model.embed_tokens.weight")),
        carried_(settings.target, CarriedFiles::What::tokenizer_generation_and_note),
        small_of_base_(hash_small_files(settings.base)),
        small_of_target_(hash_small_files(settings.target)) {
    warn_of_other_ids(settings.target, pair_.other_config());
  }

  DeltaMade run() {
    const ThreadsBeside threads(3);  // base, the other and the result are hashed
    StagedFolder folder(settings_.out);
    FileHashing base(pair_.base().files()), target(pair_.other().files());
    FolderWriter writer(folder.path(), specs(), {.shard_bytes = settings_.shard_bytes, .sha256 = true});
    WalkProgress progress("delta", bytes());
    for (const TensorPair& pair : pair_.pairs()) {
      subtract(pair, writer, progress);
      pair_.base().release(*pair.base);
      pair_.other().release(*pair.other);
    }
    const std::vector<FileHash> files = writer.finish();
    if (not_finite_.count > 0) refuse_overflow();
    wait_for({&base, &target});
    carried_.write(folder.path());
    write_configs(folder.path(), pair_.other_config(), dtype_choice(dtype_of(embedding_)));
    Json manifest = manifest_of(base.wait(), target.wait(), files);
    manifest["small_files"] = {{"base", to_json(small_of_base_)},
                               {"target", to_json(small_of_target_)},
                               {"files", to_json(hash_small_files(folder.path()))}};
    write_json(folder.path() / delta_manifest_file, manifest);
    folder.publish();
    return {.parameters = rounding_.elements,
            .dtype = dtype_choice(dtype_of(embedding_)),
            .rows = {.base = pair_.base_rows(),
                     .delta = pair_.other_rows(),
                     .counted = counted_rows(),
                     .by = CountedRows::By::asked},
            .rounding = rounding_};
  }

 private:
  // Differences that no number stands for.
  struct NotFinite {
    std::int64_t count = 0;
    std::string first;  // the tensor of the first
    at::ScalarType dtype = at::kHalf;
  };

  // Of a tensor's delta and its sum: the one asked for, else the target's own, tensor by tensor.
  at::ScalarType dtype_of(const TensorInfo& target) const {
    return settings_.dtype ? model::scalar_type(*settings_.dtype) : target.dtype;
  }

  std::int64_t counted_rows() const { return std::min(pair_.base_rows(), pair_.other_rows()); }

  std::vector<TensorSpec> specs() const {
    std::vector<TensorSpec> specs;
    for (const TensorPair& pair : pair_.pairs()) {
      specs.push_back({pair.other->name, dtype_of(*pair.other), pair.other->shape});
    }
    return specs;
  }

  std::int64_t bytes() const {
    std::int64_t sum = 0;
    for (const TensorSpec& spec : specs()) sum += spec.bytes();
    return sum;
  }

  void subtract(const TensorPair& pair, FolderWriter& writer, WalkProgress& progress) {
    const std::int64_t rows = pair.other->shape.empty() ? 1 : pair.other->shape[0];
    const at::ScalarType dtype = dtype_of(*pair.other);
    const PaddedRows base(pair_.base().tensor(*pair.base), rows, dtype, settings_.pad_row);
    // Rows as they are in the file, and as the sums see them.
    const PaddedRows given(pair_.other().tensor(*pair.other), rows, pair.other->dtype, RowFill::zero);
    const auto element =
        static_cast<std::int64_t>(std::max(at::elementSize(dtype), at::elementSize(pair.other->dtype)));
    for_row_blocks(pair.other->shape, element, [&](std::int64_t first, std::int64_t count) {
      const at::Tensor target = given.block(first, count);
      const Difference difference = restoring_difference(target.to(dtype), base.block(first, count));
      rounding_.add_block(pair.other->name, difference.restored.to(target.scalar_type()), target);
      const std::int64_t beyond = count_not_finite(difference.delta);
      if (beyond > 0 && not_finite_.count == 0) not_finite_ = {.first = pair.other->name, .dtype = dtype};
      not_finite_.count += beyond;
      writer.write_part(difference.delta);
      progress.advance(static_cast<std::int64_t>(difference.delta.nbytes()));
    });
  }

  [[noreturn]] void refuse_overflow() const {
    throw_input("delta",
                "{} differences are not finite in {} (the first in {}): the base or the target holds such weights, or "
                "they are beyond that dtype; --dtype float32 holds more",
                not_finite_.count, name_of(dtype_choice(not_finite_.dtype)), not_finite_.first);
  }

  Json manifest_of(const std::vector<FileHash>& base, const std::vector<FileHash>& target,
                   const std::vector<FileHash>& files) const {
    Json rounding = {{"tensors", rounding_.inexact_tensors}, {"elements", rounding_.inexact_elements}};
    if (rounding_.inexact_elements > 0 && std::isfinite(rounding_.largest_relative)) {
      rounding["largest_absolute"] = rounding_.largest_absolute;
      rounding["largest_relative"] = rounding_.largest_relative;
    }
    Json other_dtypes = Json::object();
    for (const TensorPair& pair : pair_.pairs()) {
      if (pair.other->dtype != embedding_.dtype) {
        other_dtypes[pair.other->name] = name_of(dtype_choice(pair.other->dtype));
      }
    }
    return {{"what", "delta"},
            {"made_by", "rrhf " RRHF_VERSION},
            {"dtype", name_of(dtype_choice(dtype_of(embedding_)))},
            {"target_dtype", name_of(dtype_choice(embedding_.dtype))},
            {"other_dtypes", other_dtypes},
            {"base_rows", counted_rows()},
            {"pad_row", name_of(settings_.pad_row)},
            {"base", to_json(base)},
            {"target", to_json(target)},
            {"files", to_json(files)},
            {"rounding", rounding}};
  }

  const MakeDelta& settings_;
  const CheckpointPair pair_;
  const TensorInfo& embedding_;  // of the target
  const CarriedFiles carried_;
  const std::vector<FileHash> small_of_base_, small_of_target_;
  Rounding rounding_;
  NotFinite not_finite_;
};

}  // namespace

DeltaMade make_delta(const MakeDelta& settings) { return Maker(settings).run(); }

}  // namespace rrhf::checkpoint
