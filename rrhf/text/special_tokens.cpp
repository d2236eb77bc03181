#include "rrhf/text/special_tokens.h"

#include <algorithm>
#include <array>
#include <limits>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/json.h"

namespace rrhf::text {
namespace fs = std::filesystem;
namespace {

// The roles a special token can have, in the order in which transformers gives new ids.
constexpr std::array roles{"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};
constexpr std::string_view additional_key = "additional_special_tokens";

// Only these four may be declared "" and then count: a lookup of "" is SentencePiece's unknown token.
bool counts_when_empty(std::string_view role) {
  return role == "bos_token" || role == "eos_token" || role == "unk_token" || role == "pad_token";
}

bool holds(const Json& object, std::string_view key) { return object.contains(std::string(key)); }

class Reader {
 public:
  Reader(const fs::path& folder, std::span<const std::string> pieces) : folder_(folder), pieces_(pieces) {
    for (std::size_t id = 0; id < pieces.size(); ++id) vocabulary_.emplace(pieces[id], static_cast<std::int32_t>(id));
  }

  SpecialTokens read() {
    const Json config = object_in("tokenizer_config.json");
    const Json map = object_in("special_tokens_map.json");
    read_settings(config);
    read_declarations(config, "tokenizer_config.json");
    read_extra_tokens(config);
    read_objects_of(map);
    if (holds(config, "added_tokens_decoder")) {
      read_decoder(config["added_tokens_decoder"]);
    } else {
      read_declarations(map, "special_tokens_map.json");
      read_added_tokens(object_in("added_tokens.json"));
      read_fast_tokenizer();
    }
    stop_if_wrong();
    settle_declarations();
    add_special_tokens();
    check_ids();
    stop_if_wrong();
    return std::move(result_);
  }

 private:
  void wrong(std::string text) { problems_.push_back(std::move(text)); }

  void stop_if_wrong() const {
    if (problems_.empty()) return;
    std::string list;
    constexpr std::size_t most = 20;
    for (std::size_t i = 0; i < std::min(most, problems_.size()); ++i) list += (i > 0 ? "\n  " : "") + problems_[i];
    if (problems_.size() > most) list += fmt::format("\n  and {} more", problems_.size() - most);
    throw_input("tokenizer", "{}: {}", folder_.string(), list);
  }

  // The file's object, or an empty one when there is no such file.
  Json object_in(std::string_view name) {
    const fs::path path = folder_ / name;
    if (!has_file(path)) return Json::object();
    Json value = parse_json(read_file(path), "tokenizer", path.string());
    if (value.is_object()) return value;
    wrong(fmt::format("{} is {}; an object is needed", name, describe(value)));
    return Json::object();
  }

  bool flag(const Json& object, std::string_view key, std::string_view where, bool if_missing, bool if_null) {
    const auto found = object.find(std::string(key));
    if (found == object.end()) return if_missing;
    if (found->is_null()) return if_null;
    if (found->is_boolean()) return found->get<bool>();
    wrong(fmt::format("{}: \"{}\" is {}; true or false is needed", where, key, describe(*found)));
    return if_missing;
  }

  void read_settings(const Json& config) {
    constexpr std::string_view where = "tokenizer_config.json";
    result_.legacy = flag(config, "legacy", where, true, true);
    result_.add_prefix_space = flag(config, "add_prefix_space", where, true, false);
    result_.split_special_tokens = flag(config, "split_special_tokens", where, false, false);
    const auto options = config.find("sp_model_kwargs");
    if (options != config.end() && !options->is_null() && !options->empty()) {
      wrong(fmt::format("{}: \"sp_model_kwargs\" is set; sampled segmentations are not supported", where));
    }
  }

  // A token spelled as a string or as an object with flags.
  std::optional<AddedToken> token_in(const Json& value, const std::string& where) {
    if (value.is_string()) return AddedToken{value.get<std::string>()};
    const auto content = value.is_object() ? value.find("content") : value.end();
    if (value.is_object() && content != value.end() && content->is_string()) {
      return AddedToken{.content = content->get<std::string>(),
                        .single_word = flag(value, "single_word", where, false, false),
                        .lstrip = flag(value, "lstrip", where, false, false),
                        .rstrip = flag(value, "rstrip", where, false, false)};
    }
    wrong(fmt::format("{} is {}; a string or an object with a string \"content\" is needed", where, describe(value)));
    return std::nullopt;
  }

  // Takes over the roles that `file` names; null takes a role away.
  void read_declarations(const Json& object, std::string_view file) {
    for (const char* role : roles) {
      const auto found = object.find(role);
      if (found == object.end()) continue;
      declared_[role] = found->is_null() ? std::nullopt : token_in(*found, fmt::format("{}: \"{}\"", file, role));
    }
    const auto list = object.find(std::string(additional_key));
    if (list == object.end()) return;
    if (list->is_null()) return additional_.clear();
    if (!list->is_array()) {
      return wrong(fmt::format("{}: \"{}\" is {}; an array is needed", file, additional_key, describe(*list)));
    }
    for (const Json& value : *list) {
      if (const auto token = token_in(value, fmt::format("{}: an element of \"{}\"", file, additional_key))) {
        additional_.push_back({*token, value.is_object()});
      }
    }
  }

  // Further special tokens under names that only their model knows: {"image_token": "<image>"}.
  void read_extra_tokens(const Json& config) {
    const std::string where = "tokenizer_config.json: \"extra_special_tokens\"";
    const auto extra = config.find("extra_special_tokens");
    if (extra == config.end() || extra->empty()) return;
    if (!extra->is_object() && !extra->is_array()) {
      return wrong(
          fmt::format("{} is {}; an object of names and tokens is needed, or a list", where, describe(*extra)));
    }
    for (std::size_t i = 0; extra->is_array() && i < extra->size(); ++i) {
      if (const auto token = token_in((*extra)[i], fmt::format("{}: element {}", where, i)); token) {
        extra_.push_back({*token, (*extra)[i].is_object()});
      }
    }
    if (extra->is_array()) return;
    for (const auto& [name, value] : extra->items()) {
      if (name == additional_key || std::ranges::find(roles, std::string_view(name)) != roles.end()) {
        wrong(fmt::format("{} has a \"{}\"; that role is declared beside it", where, name));
      } else if (const auto token = token_in(value, fmt::format("{}: \"{}\"", where, name));
                 token && !token->content.empty()) {
        extra_.push_back({*token, value.is_object()});
      }
    }
  }

  void read_objects_of(const Json& map) {
    const auto take = [&](const Json& value, const std::string& key) {
      if (!value.is_object()) return;
      if (const auto token = token_in(value, fmt::format("special_tokens_map.json: \"{}\"", key))) {
        result_.declared_as_object.emplace(token->content, *token);
      }
    };
    for (const auto& [key, value] : map.items()) {
      if (value.is_array()) {
        for (const Json& element : value) take(element, key);
      } else {
        take(value, key);
      }
    }
  }

  void add(std::int64_t id, AddedToken token, std::string_view file) {
    if (id < 0 || id > std::numeric_limits<std::int32_t>::max()) {
      return wrong(fmt::format("{}: \"{}\" has the id {}; ids begin at 0", file, token.content, id));
    }
    AddedToken& slot = result_.by_id[static_cast<std::int32_t>(id)];
    if (!slot.content.empty() && slot.content != token.content) {
      wrong(
          fmt::format("{}: \"{}\" has the id {}, which is also that of \"{}\"", file, token.content, id, slot.content));
    }
    slot = std::move(token);
  }

  void read_decoder(const Json& decoder) {
    constexpr std::string_view file = "tokenizer_config.json";
    if (!decoder.is_object()) {
      return wrong(fmt::format("{}: \"added_tokens_decoder\" is {}; an object is needed", file, describe(decoder)));
    }
    for (const auto& [key, value] : decoder.items()) {
      const bool digits = !key.empty() && key.size() <= 10 && key.find_first_not_of("0123456789") == std::string::npos;
      if (!digits) {
        wrong(fmt::format("{}: \"added_tokens_decoder\" has the key \"{}\"; an id is needed", file, key));
      } else if (auto token = token_in(value, fmt::format("{}: \"added_tokens_decoder\" {}", file, key))) {
        by_content_.insert_or_assign(token->content, *token);
        add(std::stoll(key), std::move(*token), file);
      }
    }
  }

  void read_added_tokens(const Json& added) {
    constexpr std::string_view file = "added_tokens.json";
    for (const auto& [content, id] : added.items()) {
      if (!id.is_number_integer()) {
        wrong(fmt::format("{}: \"{}\" is {}; an id is needed", file, content, describe(id)));
      } else {
        add(id.get<std::int64_t>(), AddedToken{content}, file);
      }
    }
  }

  void read_fast_tokenizer() {
    constexpr std::string_view file = "tokenizer.json";
    const Json fast = object_in(file);
    const auto list = fast.find("added_tokens");
    if (list == fast.end() || !list->is_array()) return;
    for (const Json& value : *list) {
      const auto token = token_in(value, fmt::format("{}: an element of \"added_tokens\"", file));
      if (!token) continue;
      const auto id = value.find("id");
      if (!value.is_object() || id == value.end() || !id->is_number_integer()) {
        wrong(fmt::format("{}: \"{}\" of \"added_tokens\" has no id", file, token->content));
        continue;
      }
      by_content_.insert_or_assign(token->content, *token);
      add(id->get<std::int64_t>(), *token, file);
    }
  }

  // A declared token takes its flags from the added token of that content, except where the declaration is a default
  // or an additional token spelled as an object.
  void settle_declarations() {
    const auto settle = [&](AddedToken& token) {
      if (const auto known = by_content_.find(token.content); known != by_content_.end()) token = known->second;
    };
    for (auto& [role, token] : declared_) {
      if (token) settle(*token);
    }
    for (auto* const list : {&additional_, &extra_}) {
      for (auto& [token, is_object] : *list) {
        if (!is_object) settle(token);
      }
    }
    declared_.emplace("bos_token", AddedToken{"<s>"});
    declared_.emplace("eos_token", AddedToken{"</s>"});
    declared_.emplace("unk_token", AddedToken{"<unk>"});
    for (const auto& [id, token] : result_.by_id) result_.id_of[token.content] = id;
    const auto content = [&](const char* role) {
      const auto& token = declared_[role];
      return token ? std::optional(token->content) : std::nullopt;
    };
    result_.bos = content("bos_token");
    result_.eos = content("eos_token");
    result_.unk = content("unk_token");
    result_.pad = content("pad_token");
  }

  // Every declared token becomes one that is cut out of texts; the first declaration of a content gives its flags.
  void add_special_tokens() {
    std::vector<AddedToken> tokens;
    std::unordered_set<std::string> seen;
    for (const char* role : roles) {
      const auto& token = declared_[role];
      if (!token || (token->content.empty() && !counts_when_empty(role))) continue;
      if (seen.insert(token->content).second) tokens.push_back(*token);
    }
    for (const auto& [token, is_object] : additional_) {
      result_.additional.push_back(token.content);
      if (seen.insert(token.content).second) tokens.push_back(token);
    }
    for (const auto& [token, is_object] : extra_) {
      if (seen.insert(token.content).second) tokens.push_back(token);
    }
    for (AddedToken& token : tokens) {
      result_.special.push_back(token.content);
      if (token.content.empty()) continue;
      const std::int32_t id = id_for(token.content);
      result_.id_of[token.content] = id;
      result_.by_id[id] = std::move(token);
    }
  }

  // An added token's id, a piece's id, or the next free one.
  std::int32_t id_for(const std::string& content) const {
    if (const auto added = result_.id_of.find(content); added != result_.id_of.end()) return added->second;
    if (const auto piece = vocabulary_.find(content); piece != vocabulary_.end()) return piece->second;
    const auto pieces = static_cast<std::int32_t>(pieces_.size());
    return result_.by_id.empty() ? pieces : std::max(pieces, result_.by_id.rbegin()->first + 1);
  }

  void check_ids() {
    auto expected = static_cast<std::int32_t>(pieces_.size());
    for (const auto& [id, token] : result_.by_id) {
      if (id < static_cast<std::int32_t>(pieces_.size())) {
        const std::string& piece = pieces_[static_cast<std::size_t>(id)];
        if (piece == token.content) continue;
        wrong(fmt::format(
            "the added token \"{}\" has the id {}, which is \"{}\" in tokenizer.model; added ids begin at {}",
            token.content, id, piece, pieces_.size()));
      } else if (id != expected) {
        wrong(
            fmt::format("the added token \"{}\" has the id {}, and nothing has the id {}: these files are of another "
                        "tokenizer.model, or a file of added tokens is missing",
                        token.content, id, expected));
        expected = id + 1;
      } else {
        ++expected;
      }
    }
  }

  const fs::path folder_;
  const std::span<const std::string> pieces_;
  std::unordered_map<std::string, std::int32_t> vocabulary_;
  std::map<std::string, std::optional<AddedToken>, std::less<>> declared_;  // by role
  std::vector<std::pair<AddedToken, bool>> additional_, extra_;             // with: spelled as an object
  std::unordered_map<std::string, AddedToken> by_content_;  // flags that rule over those of a declaration
  SpecialTokens result_;
  std::vector<std::string> problems_;
};

}  // namespace

SpecialTokens read_special_tokens(const fs::path& folder, std::span<const std::string> pieces) {
  return Reader(folder, pieces).read();
}

}  // namespace rrhf::text
