#include <fmt/format.h>

#include <algorithm>

#include "rrhf/config/options.h"
#include "rrhf/config/recipe.h"
#include "rrhf/config/run_config.h"

namespace rrhf::config {
namespace {

constexpr std::string_view introduction =
    R"(<!-- Written from the option declarations in rrhf/config. Don't edit: RRHF_UPDATE_DOCS=1 build/tests/test_config rewrites it. -->
# Config reference

After this page you can write a config of your own, change any setting of a run from the command line, and read the
message you get when a setting is wrong.

A run is described by one JSON file, which may hold `//` comments. Only what differs from the defaults need be there:

```json
{
  "recipe": "default",
  "model": {"path": "models/alpaca-7b", "dtype": "bfloat16"},
  "data": {
    "train": ["rankings/part-1.jsonl", "rankings/part-2.jsonl"],
    "eval_fraction": 0.05,     // 5 % of the rows are held out
    "template": "alpaca"
  },
  "optimizer": {"learning_rate": 1e-5},
  "eval": {"every_steps": 50}
}
```

```
rrhf train my-run.json                                        # writes runs/my-run
rrhf train my-run.json --set train.epochs=1 --set output=runs/short
rrhf train --preset wombat-7b --set model.path=models/alpaca-7b --set data.train=rankings.jsonl
```

`--set key=value` may be repeated; the last one of a key wins over those before it and over the file. The value is JSON if
it reads as JSON, else text; a list is `[a,b]`, an object sets several keys of a section at once
(`--set 'eval={"every_steps": 10}'`), and nothing after `=` is the empty text.

All mistakes are reported together, each with its place, before anything is loaded:

```
[config] my-run.json:4: objective.normalisation is not a setting; nearest: objective.normalization. Settings of objective: ...
my-run.json:7: optimizer.learning_rate must be a number, at least 0; found the number -1
```

A run writes the settings it used, defaults included, to `config.json` in its output folder; that file is itself a config.
)";

// A value as JSON between backquotes; none for null.
std::string code(const Json& value) {
  if (value.is_null()) return "none";
  if (value.is_string()) return value.get<std::string>().empty() ? "none" : "`" + value.get<std::string>() + "`";
  if (value.is_array() && value.empty()) return "none";
  return "`" + value.dump() + "`";
}

// A cell of a Markdown table, where a bar would end the cell.
std::string cell(std::string_view text) {
  std::string result;
  for (const char c : text) result += c == '|' ? std::string("\\|") : std::string(1, c);
  return result;
}

bool by_recipe(std::string_view key) {
  return std::find(recipe_keys.begin(), recipe_keys.end(), key) != recipe_keys.end();
}

Json value_under(Recipe recipe, std::string_view key) {
  RunConfig config;
  config.recipe = recipe;
  apply_recipe(config);
  for (const Option& option : options_of(config)) {
    if (option.key == key) return option.value.write();
  }
  return {};
}

std::string recipe_table() {
  std::string result =
      "\n## Recipes\n\nA recipe sets five keys together. `default` is what we advise for new rankings; `paper` follows "
      "the "
      "equations of the\nRRHF paper; `released` follows the authors' code, to reproduce what it made (docs/losses.md "
      "says what "
      "that costs).\n\n| key |";
  for (const auto& [name, recipe] : Choices<Recipe>::names) result += fmt::format(" `{}` |", name);
  result += "\n| --- |";
  for (std::size_t i = 0; i < Choices<Recipe>::names.size(); ++i) result += " --- |";
  for (const std::string_view key : recipe_keys) {
    result += fmt::format("\n| `{}` |", key);
    for (const auto& [name, recipe] : Choices<Recipe>::names)
      result += fmt::format(" {} |", code(value_under(recipe, key)));
  }
  return result + "\n";
}

std::string table_of(std::string_view section, const std::vector<Option>& options) {
  std::string result = "\n| key | value | default | meaning |\n| --- | --- | --- | --- |\n";
  for (const Option& option : options) {
    if (section_of(option.key) != section) continue;
    const std::string standard = by_recipe(option.key) ? "*by recipe*" : code(option.value.write());
    result +=
        fmt::format("| `{}` | {} | {} | {} |\n", option.key, cell(option.value.kind), standard, cell(option.help));
  }
  return result;
}

}  // namespace

std::string reference_markdown() {
  RunConfig config;
  const auto options = options_of(config);
  std::string result = std::string(introduction) + recipe_table();
  result += "\n## Settings outside a section\n" + table_of("", options);
  for (const Section& section : sections()) {
    result += fmt::format("\n## {}\n\n{}\n", section.name, section.help) + table_of(section.name, options);
  }
  return result;
}

}  // namespace rrhf::config
