// SentencePiece tokenization that equals Hugging Face's slow LLaMA tokenizer.
//
// A LLaMA folder holds tokenizer.model (SentencePiece) and, beside it, up to three small files that say which further
// tokens there are: added_tokens.json ("[PAD]": 32000), special_tokens_map.json and tokenizer_config.json.
// HF's slow tokenizer cuts a text at every literal special or added token ("</s>", "[PAD]") before SentencePiece sees
// the pieces between; plain SentencePiece does not. What the small files may say is told in special_tokens.h.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rrhf::text {

/// How literal special tokens in a text are treated.
enum class SpecialHandling {
  /// Each becomes its id; the text around it is untouched, unless the token's own flags say so (transformers 4.57).
  parse,
  /// Each becomes its id, and white space on both its sides is dropped (transformers 4.28.1: recipe `released`), except
  /// where special_tokens_map.json spells the token as an object: its flags decide then. The rest is always legacy.
  parse_strip,
  plain,  ///< ordinary text: SentencePiece alone
};

/// Token ids are int32; rows of the embedding. Immutable after load(), so const calls are safe from several threads.
class Tokenizer {
 public:
  /// Reads a model folder. Throws InputError when tokenizer.model is missing (with the reason, when only a
  /// tokenizer.json is there), broken, or when the small files contradict it (ids that name another piece, gaps).
  static Tokenizer load(const std::filesystem::path& folder);

  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  /// Ids of `text` alone: no BOS or EOS is added. Invalid UTF-8 is replaced by U+FFFD first.
  std::vector<std::int32_t> encode(std::string_view text, SpecialHandling special = SpecialHandling::parse) const;

  /// The text of `ids`, as HF's slow decode without clean-up gives it: added tokens that are not special stand between
  /// spaces. With `skip_special` BOS, EOS, UNK, PAD and the additional special tokens leave nothing. Ids beyond the
  /// vocabulary read "<?>", or nothing with `skip_special`.
  std::string decode(std::span<const std::int32_t> ids, bool skip_special = true) const;

  /// The piece as the vocabulary spells it ("▁the", "<0x0A>", "[PAD]"); "<?>" for an id beyond it.
  std::string piece(std::int32_t id) const;

  /// As the small files declare them; where they say "" or null, as very old conversions do, SentencePiece's own.
  std::int32_t bos_id() const noexcept;
  std::int32_t eos_id() const noexcept;
  std::int32_t unk_id() const noexcept;
  /// Only a declared one: an added "[PAD]" without the role is no padding token.
  std::optional<std::int32_t> pad_id() const noexcept;

  /// One more than the largest id: SentencePiece's vocabulary and the tokens added to it. A model needs as many rows.
  std::int64_t size() const noexcept;

 private:
  struct State;
  explicit Tokenizer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// The files of a folder that make up its tokenizer, to be carried along with a model.
std::vector<std::filesystem::path> tokenizer_files(const std::filesystem::path& folder);

}  // namespace rrhf::text
