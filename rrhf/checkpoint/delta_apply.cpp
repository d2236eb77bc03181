#include <ATen/ATen.h>

#include <algorithm>

#include "rrhf/checkpoint/delta.h"
#include "rrhf/checkpoint/delta_check.h"
#include "rrhf/checkpoint/delta_manifest.h"
#include "rrhf/checkpoint/delta_pairs.h"
#include "rrhf/checkpoint/finite.h"
#include "rrhf/checkpoint/folder_files.h"
#include "rrhf/checkpoint/padded_rows.h"
#include "rrhf/checkpoint/tensor_match.h"
#include "rrhf/checkpoint/walk.h"
#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/staged_folder.h"
#include "rrhf/model/weights.h"
#include "rrhf/text/sentencepiece_model.h"
#include "rrhf/text/tokenizer.h"

namespace rrhf::checkpoint {
namespace fs = std::filesystem;
namespace {

// Where the result's tokenizer comes from, all of its files: the delta; the base when the delta has none and adds no
// rows. The base's files with some of the delta's among them would be a tokenizer that nobody made.
fs::path tokenizer_folder(const ApplyDelta& settings, const CheckpointPair& pair) {
  const auto has_one = [](const fs::path& folder) { return has_file(folder / "tokenizer.model"); };
  const bool same_rows = pair.base_rows() == pair.other_rows();
  if (!has_one(settings.delta) && !(same_rows && has_one(settings.base))) {
    throw_input(
        "delta",
        "{}: holds no tokenizer.model, and the base's can't serve: {}; a delta comes with the tokenizer of its "
        "vocabulary",
        settings.delta.string(),
        same_rows ? "it has none" : fmt::format("it is for {} rows, here are {}", pair.base_rows(), pair.other_rows()));
  }
  const fs::path folder = has_one(settings.delta) ? settings.delta : settings.base;
  const auto tokenizer = text::Tokenizer::load(folder);
  if (tokenizer.size() > pair.other_rows()) {
    throw_input("delta", "{}: the tokenizer has {} ids, the delta {} rows of vocabulary: it is another model's",
                folder.string(), tokenizer.size(), pair.other_rows());
  }
  if (folder != settings.delta && !text::tokenizer_files(settings.delta).empty()) {
    warn("{}: has files of a tokenizer, but no tokenizer.model; they are left out, the result has the base's tokenizer",
         settings.delta.string());
  }
  if (folder == settings.delta && has_one(settings.base) &&
      text::read_sentencepiece_model(settings.base) != text::read_sentencepiece_model(settings.delta)) {
    warn("the tokenizer.model of base and delta differ: is this the base the delta was made with?");
  }
  return folder;
}

class Applier {
 public:
  explicit Applier(const ApplyDelta& settings)
      : settings_(settings),
        manifest_(read_delta_manifest(settings.delta)),
        pair_(settings.base, settings.delta, "delta"),
        embedding_(*pair_.other().find("model.embed_tokens.weight")),
        tokenizer_(tokenizer_folder(settings, pair_)),
        carried_(settings.delta, tokenizer_ == settings.delta ? CarriedFiles::What::tokenizer_generation_and_note
                                                              : CarriedFiles::What::generation_and_note),
        check_(settings, manifest_) {
    if (tokenizer_ != settings.delta) of_base_.emplace(tokenizer_, CarriedFiles::What::tokenizer_and_generation);
    warn_of_other_ids(tokenizer_, pair_.other_config());
    check_.before_work(pair_.base().files(), pair_.other().files());
    pad_row_ = settings.pad_row.value_or(manifest_ ? manifest_->pad_row : RowFill::zero);
    if (manifest_ && pad_row_ != manifest_->pad_row) {
      throw_input("delta", "{} was made with --pad-row {}", settings.delta.string(), name_of(manifest_->pad_row));
    }
    rows_ = counted_rows({.base = pair_.base_rows(),
                          .delta = pair_.other_rows(),
                          .base_rows = manifest_ ? manifest_->base_rows : std::nullopt,
                          .keep_base_row = settings.keep_base_row,
                          .base_folder = settings.base,
                          .delta_folder = settings.delta,
                          .tokenizer_folder = tokenizer_});
  }

  DeltaApplied run() {
    const ThreadsBeside threads(3);  // base, the other and the result are hashed
    StagedFolder folder(settings_.out);
    FileHashing base(pair_.base().files()), delta(pair_.other().files());
    FolderWriter writer(folder.path(), specs(), {.shard_bytes = settings_.shard_bytes, .sha256 = true});
    add_all(writer, base);
    const std::vector<FileHash> files = writer.finish();
    wait_for({&base, &delta});
    const BaseCheck checked = check_.contents(base.wait(), delta.wait());
    const auto sum = checked_sum();
    refuse_or_warn_of_odd_weights();
    if (of_base_) of_base_->write(folder.path());
    carried_.write(folder.path());
    write_configs(folder.path(), pair_.other_config(), dtype_choice(stored_dtype(embedding_)));
    Json manifest = manifest_of(base.wait(), delta.wait(), files, checked);
    manifest["small_files"] = {{"base", to_json(check_.small_of_base())},
                               {"delta", to_json(check_.small_of_delta())},
                               {"files", to_json(hash_small_files(folder.path()))}};
    write_json(folder.path() / delta_manifest_file, manifest);
    folder.publish();
    return {.parameters = parameters_,
            .dtype = dtype_choice(stored_dtype(embedding_)),
            .rows = rows_,
            .tokenizer_of_base = tokenizer_ != settings_.delta,
            .pad_row = pad_row_,
            .base = checked,
            .sum = sum};
  }

 private:
  // What a tensor's sum is taken in. A delta made here has each tensor in the dtype of its sum; a released one is
  // summed in one dtype.
  at::ScalarType sum_dtype(const TensorInfo& delta) const {
    if (settings_.dtype) return model::scalar_type(*settings_.dtype);
    return manifest_ ? delta.dtype : embedding_.dtype;
  }

  // What it is stored in.
  at::ScalarType stored_dtype(const TensorInfo& delta) const {
    if (settings_.dtype || !manifest_) return sum_dtype(delta);
    return model::scalar_type(manifest_->dtype_of_target(delta.name));
  }

  // The rows of the base that the delta was made over.
  at::Tensor base_tensor(const TensorPair& pair) const {
    const at::Tensor whole = pair_.base().tensor(*pair.base);
    return has_vocabulary_rows(pair.base->name) ? whole.narrow(0, 0, rows_.counted) : whole;
  }

  std::vector<TensorSpec> specs() const {
    std::vector<TensorSpec> specs;
    for (const TensorPair& pair : pair_.pairs()) {
      specs.push_back({pair.other->name, stored_dtype(*pair.other), pair.other->shape});
    }
    return specs;
  }

  void add_all(FolderWriter& writer, FileHashing& base) {
    std::int64_t bytes = 0;
    for (const TensorSpec& spec : specs()) bytes += spec.bytes();
    WalkProgress progress("recovering", bytes);
    for (const TensorPair& pair : pair_.pairs()) {
      add(pair, writer, progress);
      pair_.base().release(*pair.base);
      pair_.other().release(*pair.other);
      check_.base_so_far(base);
    }
  }

  void add(const TensorPair& pair, FolderWriter& writer, WalkProgress& progress) {
    const at::Tensor delta = pair_.other().tensor(*pair.other);
    const std::int64_t rows = delta.dim() == 0 ? 1 : delta.size(0);
    const at::ScalarType summed = sum_dtype(*pair.other), stored = stored_dtype(*pair.other);
    const PaddedRows base_rows(base_tensor(pair), rows, summed, pad_row_);
    const PaddedRows delta_rows(delta, rows, summed, RowFill::zero);
    at::Tensor whole;  // only where its sum is asked for
    if (settings_.expected_sum) whole = at::empty(delta.sizes(), at::TensorOptions().dtype(stored));
    const auto element = static_cast<std::int64_t>(at::elementSize(summed));
    for_row_blocks(delta.sizes(), element, [&](std::int64_t first, std::int64_t count) {
      const at::Tensor base = base_rows.block(first, count), difference = delta_rows.block(first, count);
      const at::Tensor sum = at::add(base, difference).to(stored);
      look_at(pair.other->name, base, difference, sum);
      writer.write_part(sum);
      if (whole.defined()) whole.narrow(0, first, count).copy_(sum);
      progress.advance(static_cast<std::int64_t>(sum.nbytes()));
    });
    if (whole.defined()) sum_.add(pair.other->name, whole);
    parameters_ += delta.numel();
  }

  // Signs that base and delta are not what they are taken for.
  void look_at(const std::string& name, const at::Tensor& base, const at::Tensor& delta, const at::Tensor& sum) {
    const std::int64_t beyond = count_not_finite(sum);
    if (beyond > 0 && not_finite_ == 0) not_finite_in_ = name;
    not_finite_ += beyond;
    if (!name.ends_with("norm.weight")) return;
    norms_of_base_ += base.to(at::kDouble).abs().sum().item<double>();
    norms_of_delta_ += delta.to(at::kDouble).abs().sum().item<double>();
  }

  void refuse_or_warn_of_odd_weights() const {
    if (not_finite_ > 0) {
      throw_input("delta",
                  "{} recovered weights are infinite or no numbers, the first in {}: such a model can't be used, and "
                  "nothing is written; is this the base the delta was made with, and is every file whole?",
                  not_finite_, not_finite_in_);
    }
    // Norm weights are near 1 in a model; training moves them by a few percent.
    if (norms_of_delta_ > norms_of_base_ / 2) {
      warn(
          "the norm weights of the delta are {:.2f} times as large as the base's: is the delta a whole model, or the "
          "base a delta?",
          norms_of_delta_ / std::max(norms_of_base_, 1e-30));
    }
  }

  std::optional<WeightSum::Result> checked_sum() const {
    if (!settings_.expected_sum) return std::nullopt;
    const WeightSum::Result sum = sum_.result(pair_.other_config());
    if (sum.matches(*settings_.expected_sum)) return sum;
    throw_input("delta",
                "the recovered weights add up to {:.4f} ({:.4f} in float32; {:.4f} and {:.4f} with the rotary buffers "
                "that old state dicts hold), not to {:.4f}: another base or delta, or another --pad-row or --dtype",
                sum.exact, sum.float32, sum.exact_with_rotary, sum.float32_with_rotary, *settings_.expected_sum);
  }

  Json manifest_of(const std::vector<FileHash>& base, const std::vector<FileHash>& delta,
                   const std::vector<FileHash>& files, BaseCheck checked) const {
    return {{"what", "recovered"},
            {"made_by", "rrhf " RRHF_VERSION},
            {"dtype", name_of(dtype_choice(sum_dtype(embedding_)))},
            {"base_rows", rows_.counted},
            {"pad_row", name_of(pad_row_)},
            {"base_verified", checked == BaseCheck::verified || checked == BaseCheck::weights},
            {"base", to_json(base)},
            {"delta", to_json(delta)},
            {"files", to_json(files)}};
  }

  const ApplyDelta& settings_;
  const std::optional<DeltaManifest> manifest_;
  const CheckpointPair pair_;
  const TensorInfo& embedding_;  // of the delta
  const fs::path tokenizer_;
  const CarriedFiles carried_;
  std::optional<CarriedFiles> of_base_;  // where the tokenizer is the base's
  DeltaCheck check_;
  RowFill pad_row_ = RowFill::zero;
  CountedRows rows_;
  WeightSum sum_;
  std::int64_t parameters_ = 0;
  std::int64_t not_finite_ = 0;
  std::string not_finite_in_;
  double norms_of_base_ = 0, norms_of_delta_ = 0;
};

}  // namespace

DeltaApplied apply_delta(const ApplyDelta& settings) { return Applier(settings).run(); }

}  // namespace rrhf::checkpoint
