#include "rrhf/checkpoint/delta_rows.h"

#include <algorithm>
#include <string>

#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/text/sentencepiece_model.h"
#include "rrhf/text/tokenizer.h"

namespace rrhf::checkpoint {
namespace fs = std::filesystem;
namespace {

std::int64_t pieces_of(const fs::path& folder) {
  return text::SentencePieceModel(text::read_sentencepiece_model(folder), (folder / "tokenizer.model").string()).size();
}

// Whether the last row is that of a padding token added to SentencePiece's pieces, declared as such or only so spelled.
bool ends_with_pad(const fs::path& folder, std::int64_t rows) {
  if (!has_file(folder / "tokenizer.model")) return false;
  const auto tokenizer = text::Tokenizer::load(folder);
  const auto last = static_cast<std::int32_t>(rows - 1);
  if (tokenizer.size() != rows || last < pieces_of(folder)) return false;
  const std::string spelling = tokenizer.piece(last);
  return tokenizer.pad_id() == last || spelling == "[PAD]" || spelling == "<pad>";
}

CountedRows by_manifest(const RowQuestion& question, std::int64_t base_rows) {
  if (question.keep_base_row) {
    throw_input("delta", "--pad-row base: {} says itself which rows of a base it counts on",
                question.delta_folder.string());
  }
  if (base_rows > question.delta) {
    throw_input("delta", "{} has {} rows of vocabulary and counts on {} of a base: its manifest is another delta's",
                question.delta_folder.string(), question.delta, base_rows);
  }
  if (question.base < base_rows) {
    throw_input("delta",
                "{} counts on a base of {} rows of vocabulary, {} has {}: the delta was made from a base that had been "
                "given more tokens ([PAD]), whose rows can't be guessed",
                question.delta_folder.string(), base_rows, question.base_folder.string(), question.base);
  }
  return {.base = question.base, .delta = question.delta, .counted = base_rows, .by = CountedRows::By::manifest};
}

}  // namespace

CountedRows counted_rows(const RowQuestion& question) {
  if (question.base_rows) return by_manifest(question, *question.base_rows);
  CountedRows rows{.base = question.base, .delta = question.delta, .counted = std::min(question.base, question.delta)};
  if (question.keep_base_row) {
    if (question.base < question.delta) {
      throw_input("delta",
                  "--pad-row base: {} has {} rows of vocabulary, the delta {}: there is no such row in the base",
                  question.base_folder.string(), question.base, question.delta);
    }
    rows.by = CountedRows::By::asked;
  } else if (ends_with_pad(question.tokenizer_folder, question.delta)) {
    rows.by = CountedRows::By::pad_token;
    rows.counted = std::min(question.base, question.delta - 1);
  }
  return rows;
}

void require_no_piece_beyond(const fs::path& base, std::int64_t rows) {
  if (!has_file(base / "tokenizer.model")) return;
  if (const std::int64_t pieces = pieces_of(base); pieces > rows) {
    throw_input("delta",
                "base {}: its tokenizer.model has {} pieces, the other side {} rows of vocabulary: it is of "
                "another vocabulary",
                base.string(), pieces, rows);
  }
}

}  // namespace rrhf::checkpoint
