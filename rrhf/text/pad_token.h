// A padding token for a tokenizer that has none.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

namespace rrhf::text {

inline constexpr std::string_view pad_token = "[PAD]";

/// The id [PAD] would have in the tokenizer of `folder`: that of a token so spelled, else the next free one.
/// Throws InputError when there is no tokenizer, or one that has a padding token.
std::int32_t next_pad_id(const std::filesystem::path& folder);

/// Declares [PAD] as the padding token in all the small files that declare tokens (special_tokens_map.json and
/// added_tokens.json, which are made when missing; tokenizer_config.json and tokenizer.json, where they are), so that
/// this program and transformers, slow and fast, see the same. Returns its id. Throws as next_pad_id() does.
std::int32_t add_pad_token(const std::filesystem::path& folder);

}  // namespace rrhf::text
