// Which rows of a base's vocabulary a delta was taken over.
//
// A fine-tuned model has a row for [PAD] that LLaMA lacks: for its delta, both embeddings of the base first got such a
// row, zeros (Wombat) or the mean of the old ones (Alpaca-7B). A base that someone gave a [PAD] since has some other
// row there, and a sum over it is wrong in that row. So the delta decides: by its manifest, else by the tokenizer that
// the result will have, which is the base's own only where the delta has none.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace rrhf::checkpoint {

struct CountedRows {
  /// What decided.
  enum class By {
    manifest,   ///< the delta says how many rows of its base it counts on
    pad_token,  ///< the last row is a padding token's that tokenizer.model lacks: all rows but this one
    no_pad,     ///< there is no such row: as many as both have
    asked       ///< the base's own row was asked for: as many as both have
  };
  std::int64_t base = 0;     ///< rows that the base has
  std::int64_t delta = 0;    ///< rows that the delta and the result have
  std::int64_t counted = 0;  ///< the base's first rows that the delta is added to; not above the other two
  By by = By::no_pad;

  std::int64_t filled() const { return delta - counted; }    ///< rows of the result over a zero or a mean
  std::int64_t set_aside() const { return base - counted; }  ///< last rows of the base that are not used
};

struct RowQuestion {
  std::int64_t base = 0, delta = 0;       ///< rows that each has
  std::optional<std::int64_t> base_rows;  ///< those of its base that the delta's manifest says it counts on
  bool keep_base_row = false;             ///< the base's own row of [PAD] is asked for
  std::filesystem::path base_folder, delta_folder;
  std::filesystem::path tokenizer_folder;  ///< whose tokenizer the result will have
};

/// Throws InputError when the base has fewer rows than the delta's manifest counts on, and when the base's own row is
/// asked for where it has none, or against the manifest.
CountedRows counted_rows(const RowQuestion& question);

/// A base may have more rows than the other side, which then leaves the last ones out: a [PAD], or what no token uses.
/// Throws InputError when its tokenizer.model has pieces in them: it is of another vocabulary.
void require_no_piece_beyond(const std::filesystem::path& base, std::int64_t rows);

}  // namespace rrhf::checkpoint
