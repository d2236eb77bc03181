// The small JSON files beside tokenizer.model: which tokens there are besides SentencePiece's pieces, and which of all
// tokens are special.
//
// They are read as transformers 4.57's slow LlamaTokenizer reads them:
// - tokenizer_config.json with an "added_tokens_decoder" says all; the other files are then not looked at.
// - Otherwise special_tokens_map.json overrides the special tokens that tokenizer_config.json names, and the added
//   tokens come from added_tokens.json and from the "added_tokens" of a tokenizer.json.
// - The "extra_special_tokens" of tokenizer_config.json are special tokens without a role.
// - A special token that is still in no vocabulary gets the next free id.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

namespace rrhf::text {

/// A token that is cut out of a text whole. (transformers has a fourth flag, `normalized`, without effect for LLaMA.)
struct AddedToken {
  std::string content;
  bool single_word = false;  ///< not a token where text other than a space touches it
  bool lstrip = false;       ///< takes the white space on its left away
  bool rstrip = false;       ///< takes the white space on its right away
};

/// What the files of one folder say, checked against SentencePiece's vocabulary.
struct SpecialTokens {
  /// True: SentencePiece puts a space before every piece of text between special tokens (LLaMA 1, Alpaca).
  /// False: only before the text as a whole (Llama 2).
  bool legacy = true;
  bool add_prefix_space = true;
  bool split_special_tokens = false;  ///< literal special tokens are ordinary text

  std::map<std::int32_t, AddedToken> by_id;             ///< every token that is cut out of a text
  std::unordered_map<std::string, std::int32_t> id_of;  ///< the same by content
  std::vector<std::string> special;                     ///< those that skip_special drops; "" where a file says so
  std::vector<std::string> additional;                  ///< the part of `special` that has no role

  /// As declared; nothing where a file says null, and "" where it says so.
  std::optional<std::string> bos, eos, unk, pad;

  /// Tokens that special_tokens_map.json spells as objects: all that transformers 4.28.1 knows of flags.
  std::unordered_map<std::string, AddedToken> declared_as_object;
};

/// Reads the files of `folder`; each may be missing. `pieces` is SentencePiece's vocabulary by id.
/// Throws InputError when a file is broken, or when ids and contents contradict the vocabulary or leave a gap: all such
/// findings at once.
SpecialTokens read_special_tokens(const std::filesystem::path& folder, std::span<const std::string> pieces);

}  // namespace rrhf::text
