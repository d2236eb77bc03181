#include "rrhf/reward/rule_file.h"

#include <cmath>
#include <string>
#include <utility>

#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/unicode.h"
#include "rrhf/reward/rule_reader.h"

namespace rrhf::reward {
namespace {

// The members of an optional object of the file, in order.
template <class Use>
void for_each_member(RuleObject& file, std::string_view key, const Use& use) {
  const auto part = file.object(key);
  if (!part) return;
  for (const auto& [name, value] : part->json().items()) use(name, value, fmt::format("{}.{}", key, name));
}

void read_tables(RuleObject& file) {
  for_each_member(file, "tables", [&](const std::string& name, const Json& value, const std::string& path) {
    Table& table = file.scope().tables[name];
    if (!value.is_object()) return file.mistake(fmt::format("{} must be an object of words", path));
    for (const auto& [word, other] : value.items()) {
      if (!other.is_string()) file.mistake(fmt::format("{}.{} must be a text, is {}", path, word, describe(other)));
      if (other.is_string()) table[word] = other.get<std::string>();
    }
  });
}

RulePtr read_file_object(const Json& json, RuleScope& scope) {
  if (!json.is_object() || json.contains("rule")) return read_rule(json, "the rule", scope);
  RuleObject file(json, "the file", scope);
  read_tables(file);
  for_each_member(file, "lists", [&](const std::string& name, const Json& value, const std::string& path) {
    scope.lists[name] = read_list(value, path, scope);
  });
  for_each_member(file, "rules", [&](const std::string& name, const Json& value, const std::string& path) {
    scope.rules[name] = read_rule(value, path, scope);
  });
  RulePtr rule = file.rule("score");
  file.finish("a rule file (or a single rule has \"rule\")");
  return rule;
}

}  // namespace

RuleFile RuleFile::load(const std::filesystem::path& path, const text::Tokenizer* tokenizer) {
  return parse(read_file(path), path.string(), tokenizer);
}

RuleFile RuleFile::parse(std::string_view text, std::string_view where, const text::Tokenizer* tokenizer) {
  if (strip(text).empty()) throw_input("rule", "{}: the file is empty; a rule is needed (docs/rewards.md)", where);
  const Json json = parse_json(text, "rule", where, {.comments = true});
  RuleScope scope;
  scope.tokenizer = tokenizer;
  RulePtr rule = read_file_object(json, scope);
  if (scope.mistakes.empty()) return RuleFile(std::move(rule));
  std::string lines;
  for (const std::string& mistake : scope.mistakes) {
    lines += fmt::format("{}{}: {}", lines.empty() ? "" : "\n[rule] ", where, mistake);
  }
  throw InputError("rule", lines);
}

std::vector<double> RuleFile::score(const Row& row) const {
  std::vector<double> scores;
  const std::string query = valid_utf8(row.query);
  for (std::size_t i = 0; i < row.responses.size(); ++i) {
    const std::string response = valid_utf8(row.responses[i]);
    try {
      scores.push_back(rule_->value({query, response, row.json}));
    } catch (const InputError& failure) {
      std::string_view reason = failure.what();
      if (reason.starts_with("[rule] ")) reason.remove_prefix(7);
      throw_input("rule", "{}: response {}: {}", row.where.text(), i, reason);
    }
    if (!std::isfinite(scores.back())) {
      throw_input("rule", "{}: response {}: the rule's value is not a finite number", row.where.text(), i);
    }
  }
  return scores;
}

}  // namespace rrhf::reward
