#include "rrhf/text/tokenizer.h"

#include <algorithm>
#include <array>
#include <unordered_set>
#include <utility>

#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/unicode.h"
#include "rrhf/text/sentencepiece_model.h"
#include "rrhf/text/special_tokens.h"
#include "rrhf/text/token_trie.h"

namespace rrhf::text {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view space_mark = "\u2581";  // SentencePiece's spelling of a space

using Pieces = std::vector<std::string>;

// `text` with a space for every space mark.
std::string with_spaces(std::string_view text) {
  std::string result;
  for (std::size_t mark = text.find(space_mark); mark != std::string_view::npos; mark = text.find(space_mark)) {
    result.append(text.substr(0, mark)) += ' ';
    text.remove_prefix(mark + space_mark.size());
  }
  return result.append(text);
}

}  // namespace

struct Tokenizer::State {
  explicit State(const fs::path& folder) : State(folder, read_sentencepiece_model(folder)) {}
  State(const fs::path& folder, const std::string& bytes);

  bool is_added(const std::string& token) const { return special.id_of.contains(token); }
  bool is_special(const std::string& token) const { return special_tokens.contains(token); }
  std::int32_t id_of(const std::string& token) const;
  std::int32_t role_id(const std::optional<std::string>& declared, std::int32_t own, std::string_view role) const;

  Pieces parse(std::string_view text) const;
  Pieces parse_strip(std::string_view text) const;
  Pieces parse_segments(std::string_view text) const;
  Pieces pieces_between(std::string_view text) const;
  void apply_flags(Pieces& segments) const;
  void strip_neighbours(Pieces& segments) const;
  Pieces tokens_of(const Pieces& segments, const auto& pieces_of_text) const;

  std::string text_of(Pieces tokens, bool skip_special) const;
  std::string joined(Pieces tokens) const;

  fs::path folder;
  SentencePieceModel model;                           // as it lies in the folder
  std::optional<SentencePieceModel> model_no_prefix;  // where `legacy` is false
  SpecialTokens special;
  TokenTrie trie;
  std::unordered_set<std::string> special_tokens;
  std::unordered_set<std::int32_t> special_ids;
  std::unordered_set<std::string> spaced_tokens;  // decoded apart, with a space on either side
  std::size_t unk_pieces = 0;                     // of the unknown token's spelling, by `model_no_prefix`
  std::int32_t bos = 0, eos = 0, unk = 0;
  std::optional<std::int32_t> pad;
};

Tokenizer::State::State(const fs::path& from, const std::string& bytes)
    : folder(from), model(bytes, (from / "tokenizer.model").string()) {
  Pieces vocabulary;
  for (std::int32_t id = 0; id < model.size(); ++id) vocabulary.push_back(model.piece(id));
  special = read_special_tokens(folder, vocabulary);
  if (!special.legacy) {
    model_no_prefix.emplace(bytes, "tokenizer.model", SentencePieceModel::DummyPrefix::none);
    unk_pieces = model_no_prefix->pieces(special.unk.value_or("")).size();
  }
  for (const auto& [id, token] : special.by_id) trie.add(token.content);
  special_tokens.insert(special.special.begin(), special.special.end());
  for (const std::string& token : special.special) special_ids.insert(id_of(token));
  for (const auto& [token, id] : special.id_of) {
    if (!is_special(token)) spaced_tokens.insert(token);
  }
  for (const std::string& token : special.additional) {
    if (id_of(token) >= model.size()) spaced_tokens.insert(token);
  }
  bos = role_id(special.bos, model.bos_id(), "bos");
  eos = role_id(special.eos, model.eos_id(), "eos");
  unk = role_id(special.unk, model.unk_id(), "unk");
  if (special.pad && !special.pad->empty()) pad = id_of(*special.pad);
}

// Old folders declare their special tokens as "": SentencePiece's own ids stand in for those.
std::int32_t Tokenizer::State::role_id(const std::optional<std::string>& declared, int own,
                                       std::string_view role) const {
  if (declared && !declared->empty()) return id_of(*declared);
  if (own >= 0) return own;
  throw_input("tokenizer", "{}: has no {} token: tokenizer.model defines none and the files beside it name none",
              folder.string(), role);
}

std::int32_t Tokenizer::State::id_of(const std::string& token) const {
  const auto added = special.id_of.find(token);
  return added != special.id_of.end() ? added->second : model.id_of(token);
}

// The pieces of a text that holds no special token. Without the dummy prefix SentencePiece would drop a leading space,
// so the unknown token's spelling goes before it and is taken off again (transformers' way, to the letter).
Pieces Tokenizer::State::pieces_between(std::string_view text) const {
  if (special.legacy) return model.pieces(text);
  if (!text.starts_with(space_mark) && !text.starts_with(' ')) return model_no_prefix->pieces(text);
  Pieces pieces = model_no_prefix->pieces(special.unk.value_or("") + std::string(text));
  if (pieces.size() >= unk_pieces)
    pieces.erase(pieces.begin(), pieces.begin() + static_cast<std::ptrdiff_t>(unk_pieces));
  return pieces;
}

// What each token's own flags do to the text beside it.
void Tokenizer::State::apply_flags(Pieces& segments) const {
  for (std::size_t i = 0; i < segments.size(); ++i) {
    const auto id = special.id_of.find(segments[i]);
    if (id == special.id_of.end()) continue;
    const AddedToken& token = special.by_id.at(id->second);
    std::string* left = i > 0 ? &segments[i - 1] : nullptr;
    std::string* right = i + 1 < segments.size() ? &segments[i + 1] : nullptr;
    const bool text_left = left != nullptr && !left->empty();
    const bool text_right = right != nullptr && !right->empty();
    const char before = text_left ? left->back() : ' ';
    const char after = text_right ? right->front() : ' ';
    if (token.rstrip && text_right) *right = std::string(strip_left(*right));
    if (token.lstrip && text_left) *left = std::string(strip_right(*left));
    if (!token.single_word) continue;
    if (text_left && before != ' ') {
      *left += segments[i];
      segments[i].clear();
    } else if (text_right && after != ' ') {
      right->insert(0, segments[i]);
      segments[i].clear();
    }
  }
}

// transformers 4.28.1: a token without flags of its own takes the white space on both sides away.
void Tokenizer::State::strip_neighbours(Pieces& segments) const {
  for (std::size_t i = 0; i < segments.size(); ++i) {
    if (!is_added(segments[i])) continue;
    const auto object = special.declared_as_object.find(segments[i]);
    const bool flags = object != special.declared_as_object.end();
    if (i + 1 < segments.size() && (!flags || object->second.rstrip)) {
      segments[i + 1] = std::string(strip_left(segments[i + 1]));
    }
    if (i > 0 && (!flags || object->second.lstrip)) segments[i - 1] = std::string(strip_right(segments[i - 1]));
  }
}

Pieces Tokenizer::State::tokens_of(const Pieces& segments, const auto& pieces_of_text) const {
  Pieces tokens;
  for (const std::string& segment : segments) {
    if (segment.empty()) continue;
    if (is_added(segment)) {
      tokens.push_back(segment);
    } else {
      Pieces pieces = pieces_of_text(segment);
      tokens.insert(tokens.end(), std::make_move_iterator(pieces.begin()), std::make_move_iterator(pieces.end()));
    }
  }
  return tokens;
}

Pieces Tokenizer::State::parse_segments(std::string_view text) const {
  if (special.split_special_tokens) return text.empty() ? Pieces{} : pieces_between(text);
  Pieces segments = trie.split(text);
  apply_flags(segments);
  return tokens_of(segments, [&](const std::string& segment) { return pieces_between(segment); });
}

Pieces Tokenizer::State::parse(std::string_view text) const {
  if (special.legacy || text.empty()) return parse_segments(text);
  const std::string spaced = std::string(special.add_prefix_space ? space_mark : "") + with_spaces(text);
  Pieces tokens = parse_segments(spaced);
  if (tokens.size() > 1 && tokens[0] == space_mark && is_special(tokens[1])) tokens.erase(tokens.begin());
  return tokens;
}

Pieces Tokenizer::State::parse_strip(std::string_view text) const {
  Pieces segments = trie.split(text);
  strip_neighbours(segments);
  return tokens_of(segments, [&](const std::string& segment) { return model.pieces(segment); });
}

// The text of a run of tokens. Special tokens stand in it as they are spelled.
std::string Tokenizer::State::joined(Pieces tokens) const {
  const SentencePieceModel& processor = special.legacy ? model : *model_no_prefix;
  if (special.add_prefix_space && tokens.front().starts_with(space_mark)) tokens.front().erase(0, space_mark.size());
  std::string text;
  Pieces run;
  const auto flush = [&] {
    text += processor.decode(run);
    run.clear();
  };
  bool after_special = false;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const bool here = is_special(tokens[i]);
    if (here) {
      if (!after_special && i > 0 && special.legacy) text += ' ';
      flush();
      text += tokens[i];
    } else {
      if (after_special && i == 1 && special.add_prefix_space && !tokens[i].starts_with(space_mark)) text += ' ';
      run.push_back(std::move(tokens[i]));
    }
    after_special = here;
  }
  flush();
  return text;
}

std::string Tokenizer::State::text_of(Pieces tokens, bool skip_special) const {
  std::string text;
  bool any = false;
  const auto append = [&](const std::string& part) {
    if (std::exchange(any, true)) text += ' ';
    text += part;
  };
  Pieces run;
  for (std::string& token : tokens) {
    if (skip_special && is_special(token)) continue;
    if (!spaced_tokens.contains(token)) {
      run.push_back(std::move(token));
      continue;
    }
    if (!run.empty()) {
      if (const std::string part = joined(std::exchange(run, {})); !part.empty()) append(part);
    }
    append(token);
  }
  if (!run.empty()) append(joined(std::move(run)));
  return text;
}

Tokenizer::Tokenizer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

Tokenizer Tokenizer::load(const fs::path& folder) { return Tokenizer(std::make_unique<State>(folder)); }

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, SpecialHandling special) const {
  std::string repaired;
  if (find_invalid_utf8(text) != std::string_view::npos) text = repaired = valid_utf8(text);
  if (special == SpecialHandling::plain) return state_->model.ids(text);
  const Pieces tokens = special == SpecialHandling::parse ? state_->parse(text) : state_->parse_strip(text);
  std::vector<std::int32_t> ids;
  ids.reserve(tokens.size());
  for (const std::string& token : tokens) ids.push_back(state_->id_of(token));
  return ids;
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, bool skip_special) const {
  Pieces tokens;
  for (const std::int32_t id : ids) {
    const bool beyond = id < 0 || id >= size();
    if (skip_special && (beyond || state_->special_ids.contains(id))) continue;
    tokens.push_back(piece(id));
  }
  return state_->text_of(std::move(tokens), skip_special);
}

std::string Tokenizer::piece(std::int32_t id) const {
  if (const auto added = state_->special.by_id.find(id); added != state_->special.by_id.end())
    return added->second.content;
  return id >= 0 && id < state_->model.size() ? state_->model.piece(id) : "<?>";
}

std::int32_t Tokenizer::bos_id() const noexcept { return state_->bos; }
std::int32_t Tokenizer::eos_id() const noexcept { return state_->eos; }
std::int32_t Tokenizer::unk_id() const noexcept { return state_->unk; }
std::optional<std::int32_t> Tokenizer::pad_id() const noexcept { return state_->pad; }

std::int64_t Tokenizer::size() const noexcept {
  const std::int64_t pieces = state_->model.size();
  const auto& added = state_->special.by_id;
  return added.empty() ? pieces : std::max<std::int64_t>(pieces, std::int64_t{added.rbegin()->first} + 1);
}

std::vector<fs::path> tokenizer_files(const fs::path& folder) {
  constexpr std::array names{"tokenizer.model",       "added_tokens.json", "special_tokens_map.json",
                             "tokenizer_config.json", "tokenizer.json",    "chat_template.jinja"};
  std::vector<fs::path> files;
  for (const char* name : names) {
    if (has_file(folder / name)) files.push_back(folder / name);
  }
  return files;
}

}  // namespace rrhf::text
