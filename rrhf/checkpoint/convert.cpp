#include "rrhf/checkpoint/convert.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "rrhf/checkpoint/finite.h"
#include "rrhf/checkpoint/folder_files.h"
#include "rrhf/checkpoint/hf_folder.h"
#include "rrhf/checkpoint/padded_rows.h"
#include "rrhf/checkpoint/tensor_match.h"
#include "rrhf/checkpoint/walk.h"
#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/log.h"
#include "rrhf/core/staged_folder.h"
#include "rrhf/model/weights.h"
#include "rrhf/text/pad_token.h"
#include "rrhf/text/tokenizer.h"

namespace rrhf::checkpoint {
namespace fs = std::filesystem;
namespace {

// One walk over a model's tensors into another folder.
class Rewriter {
 public:
  explicit Rewriter(const fs::path& from)
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

  const model::LlamaConfig& config() const noexcept { return config_; }
  const CarriedFiles& carried() const noexcept { return carried_; }
  Dtype dtype() const { return dtype_choice(source_.find("model.embed_tokens.weight")->dtype); }

  /// Writes the tensors, in `dtype` when one is named, with `rows` of vocabulary.
  std::vector<FileHash> write(const fs::path& folder, std::optional<Dtype> dtype, std::int64_t rows, RowFill fill,
                              std::int64_t shard_bytes, const char* what) const {
    std::vector<TensorSpec> specs;
    std::int64_t bytes = 0;
    for (const TensorInfo* info : tensors_) {
      TensorSpec spec{info->name, dtype ? model::scalar_type(*dtype) : info->dtype, info->shape};
      if (has_vocabulary_rows(info->name)) spec.shape[0] = rows;
      bytes += spec.bytes();
      specs.push_back(std::move(spec));
    }
    FolderWriter writer(folder, specs, {.shard_bytes = shard_bytes});
    WalkProgress progress(what, bytes);
    Losses losses;
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      const std::int64_t before = losses.to_zero.count;
      write_tensor(*tensors_[i], specs[i], fill, writer, progress, losses);
      losses.many |= (losses.to_zero.count - before) > specs[i].numel() / odd_share;
      source_.release(*tensors_[i]);
    }
    if (losses.beyond.count > 0) {
      throw_input("model", "{} weights are beyond the range of {}, the first in {}; bfloat16 and float32 reach farther",
                  losses.beyond.count, name_of(*dtype), losses.beyond.first);
    }
    if (losses.to_zero.count > 0) {
      const std::string what = fmt::format(
          "{} weights are too small for {} and became zero, the first in {}; bfloat16 and float32 hold smaller ones",
          with_commas(losses.to_zero.count), name_of(*dtype), losses.to_zero.first);
      losses.many ? warn("{}", what) : log("{}", what);
    }
    return writer.finish();
  }

 private:
  struct Count {
    std::int64_t count = 0;
    std::string first;  // the tensor

    void add(std::int64_t more, const std::string& tensor) {
      if (more > 0 && count == 0) first = tensor;
      count += more;
    }
  };
  // Weights that only the new dtype makes infinite, or zero.
  struct Losses {
    Count beyond, to_zero;
    bool many = false;  // of one tensor more than a share became zero
  };
  // Of weights drawn around zero one in a million is as small as that; of a tensor that means something far more are.
  static constexpr std::int64_t odd_share = 1000;

  void write_tensor(const TensorInfo& info, const TensorSpec& spec, RowFill fill, FolderWriter& writer,
                    WalkProgress& progress, Losses& losses) const {
    const at::Tensor tensor = source_.tensor(info);
    // New rows are filled in the dtype of the old ones, then converted with them.
    const PaddedRows rows(tensor, spec.shape.empty() ? 1 : spec.shape[0], info.dtype, fill);
    const bool narrower = spec.dtype != info.dtype && at::elementSize(spec.dtype) <= at::elementSize(info.dtype);
    const auto element = static_cast<std::int64_t>(std::max(at::elementSize(info.dtype), at::elementSize(spec.dtype)));
    for_row_blocks(spec.shape, element, [&](std::int64_t first, std::int64_t count) {
      const at::Tensor block = rows.block(first, count), converted = block.to(spec.dtype);
      if (narrower) {
        losses.beyond.add(count_not_finite(converted) - count_not_finite(block), info.name);
        losses.to_zero.add(count_zeros(converted) - count_zeros(block), info.name);
      }
      writer.write_part(converted);
      progress.advance(static_cast<std::int64_t>(converted.nbytes()));
    });
  }

  model::LlamaConfig config_;
  TensorSource source_;
  std::vector<const TensorInfo*> tensors_;
  CarriedFiles carried_;
};

void set_pad_token_id(const fs::path& generation_config, std::int64_t id) {
  if (!path_exists(generation_config)) return;
  Json json = parse_json(read_file(generation_config), "model", generation_config.string());
  json["pad_token_id"] = id;
  write_json(generation_config, json);
}

// The rows a folder's tokenizer needs; 0 without one.
std::int64_t rows_needed(const fs::path& folder) {
  return has_file(folder / "tokenizer.model") ? text::Tokenizer::load(folder).size() : 0;
}

// More would be a config.json that is refused, or bytes beyond what a file size can be.
void require_possible(std::int64_t rows, const model::LlamaConfig& config) {
  constexpr std::int64_t most_rows = std::int64_t{1} << 30, most_elements = std::int64_t{1} << 48;
  if (rows <= std::min(most_rows, most_elements / config.hidden_size)) return;
  throw_input("model", "{} rows of vocabulary are too many: a config.json takes up to {}, an embedding {} elements",
              rows, most_rows, most_elements);
}

}  // namespace

Converted convert_model(const ConvertModel& settings) {
  const Rewriter rewriter(settings.from);
  StagedFolder folder(settings.out);
  const std::int64_t rows = rewriter.config().vocab_size;
  Converted result{.parameters = rewriter.config().parameter_count(), .files = {}};
  result.files = rewriter.write(folder.path(), settings.dtype, rows, RowFill::zero, settings.shard_bytes, "converting");
  rewriter.carried().write(folder.path());
  write_configs(folder.path(), rewriter.config(), settings.dtype.value_or(rewriter.dtype()));
  folder.publish();
  return result;
}

void resize_model(const ResizeModel& settings) {
  const Rewriter rewriter(settings.from);
  require_possible(settings.rows, rewriter.config());
  if (const std::int64_t needed = rows_needed(settings.from); settings.rows < needed) {
    throw_input("model", "{}: the tokenizer has {} ids, {} rows of vocabulary are too few", settings.from.string(),
                needed, settings.rows);
  }
  StagedFolder folder(settings.out);
  model::LlamaConfig config = rewriter.config();
  config.vocab_size = settings.rows;
  rewriter.write(folder.path(), std::nullopt, settings.rows, settings.fill, settings.shard_bytes, "resizing");
  rewriter.carried().write(folder.path());
  if (settings.add_pad) {
    config.pad_token_id = text::add_pad_token(folder.path());
    set_pad_token_id(folder.path() / "generation_config.json", *config.pad_token_id);
  }
  write_configs(folder.path(), config, rewriter.dtype());
  folder.publish();
}

}  // namespace rrhf::checkpoint
