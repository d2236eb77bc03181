// Deltas: a model released as its difference from a base that may not be passed on.
//
//   target = base + delta, tensor by tensor, each in one dtype.
//
// Wombat's deltas are float16, Alpaca-7B's is float32; a target whose tensors differ in dtype has a delta of the same
// dtypes. A fine-tuned vocabulary has rows that the base lacks ([PAD]): the base's two embeddings first get such rows,
// zeros for Wombat, the mean of the old rows for Alpaca-7B. A base that has been given a [PAD] since has its row set
// aside for the one the delta counts on (checkpoint/delta_rows.h).
//
// Both directions stream: a block of a tensor is in memory at a time, files are hashed beside it. The new folder is
// built aside and appears when complete; StopSignals ends the work with Interrupted and nothing left.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "rrhf/checkpoint/delta_difference.h"
#include "rrhf/checkpoint/delta_rows.h"
#include "rrhf/checkpoint/folder_writer.h"
#include "rrhf/checkpoint/weight_sum.h"
#include "rrhf/core/choices.h"

namespace rrhf::checkpoint {

struct MakeDelta {
  std::filesystem::path base, target, out;
  std::optional<Dtype> dtype;  ///< of the delta and the sums; each tensor's own in the target
  RowFill pad_row = RowFill::zero;
  std::int64_t shard_bytes = default_shard_bytes;
};

struct DeltaMade {
  std::int64_t parameters = 0;
  Dtype dtype = Dtype::float16;  ///< of the embedding
  CountedRows rows;
  Rounding rounding;
};

/// Writes the folder of a delta: the differences, config and tokenizer of the target, and rrhf-delta.json with the hash
/// of every file. Every tensor is applied again and compared. Throws InputError when base and target don't fit (all
/// reasons at once), `out` is not free, or the delta's dtype can't hold a difference.
DeltaMade make_delta(const MakeDelta& settings);

struct ApplyDelta {
  std::filesystem::path base, delta, out;
  std::optional<Dtype> dtype;      ///< of the sums and the result; what the delta says, else its embedding's
  std::optional<RowFill> pad_row;  ///< what the delta says, else zero
  bool keep_base_row = false;      ///< add to the base's own row of [PAD], of a delta that says nothing of it
  std::optional<double> expected_sum;
  bool any_base = false;  ///< take a base other than the one the delta names
  std::int64_t shard_bytes = default_shard_bytes;
};

/// What is known of a base.
enum class BaseCheck {
  verified,    ///< its files are those the delta was made from
  weights,     ///< its weights are, but not its small files, which no sum hangs on
  unverified,  ///< the delta doesn't say from what it was made
  other        ///< they are other files, taken because any_base was said
};

struct DeltaApplied {
  std::int64_t parameters = 0;
  Dtype dtype = Dtype::float16;  ///< of the result's embedding
  CountedRows rows;
  bool tokenizer_of_base = false;  ///< the result's tokenizer, which may have decided the rows: the delta has none
  RowFill pad_row = RowFill::zero;
  BaseCheck base = BaseCheck::unverified;
  std::optional<WeightSum::Result> sum;  ///< when one was expected
};

/// Writes the folder of the recovered model: the sums, config and tokenizer of the delta (the base's tokenizer where
/// the delta has none), and rrhf-delta.json with the hash of every file of base, delta and result. Throws InputError
/// when base and delta don't fit (all reasons at once), either's files are not those the delta names, the sum is not
/// the expected one, or `out` is not free.
DeltaApplied apply_delta(const ApplyDelta& settings);

}  // namespace rrhf::checkpoint
