#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <utility>

#include "rrhf/config/key_scan.h"
#include "rrhf/config/nearest.h"
#include "rrhf/config/options.h"
#include "rrhf/config/recipe.h"
#include "rrhf/config/run_config.h"
#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/unicode.h"

namespace rrhf::config {
namespace {

// What was given for one key, and where.
struct Entry {
  std::string key;
  Json value;
  std::string where;
};

// All that was given, in order, and all that is wrong with it.
struct Given {
  std::vector<Entry> entries;
  std::vector<std::string> mistakes;
};

// Mistakes that are listed, and characters of a key that are shown.
constexpr std::size_t most_mistakes = 20, longest_key = 80;

std::string shown_key(const std::string& key) { return printable(shorten(key, longest_key)); }

std::string shown(const Json& value) {
  if (value.is_string()) return fmt::format("\"{}\"", shorten(value.get<std::string>(), 40));
  return value.is_array() && value.size() <= 4 ? value.dump() : describe(value);
}

// Takes sections apart into settings.
void flatten(const std::string& key, const Json& value, const std::function<std::string(const std::string&)>& where,
             Given& given) {
  if (is_section(key) && !value.is_object()) {
    given.mistakes.push_back(
        fmt::format("{}: {} is a section and must be an object of settings; found {}", where(key), key, shown(value)));
  } else if (is_section(key)) {
    for (const auto& [name, part] : value.items()) flatten(fmt::format("{}.{}", key, name), part, where, given);
  } else {
    given.entries.push_back({key, value, where(key)});
  }
}

void take_text(std::string_view text, std::string_view name, Given& given) {
  if (is_blank(text)) return;
  const Json root = parse_json(text, "config", name, {.comments = true, .repeated_keys = true});
  if (!root.is_object()) throw_input("config", "{}: a config is an object {{...}}; found {}", name, shown(root));

  std::map<std::string, std::size_t> lines;
  for (const KeyPlace& place : scan_keys(text)) {
    const auto [first, is_new] = lines.emplace(place.path, place.line);
    if (!is_new) {
      given.mistakes.push_back(
          fmt::format("{}:{}: {} is given twice (first in line {})", name, place.line, place.path, first->second));
    }
  }
  const auto where = [&](const std::string& key) {
    const auto place = lines.find(key);
    return place == lines.end() ? std::string(name) : fmt::format("{}:{}", name, place->second);
  };
  for (const auto& [key, value] : root.items()) flatten(key, value, where, given);
}

// "[a, b]" with bare words: each element is JSON if it parses, else a string.
Json list_of_words(std::string_view inside) {
  Json list = Json::array();
  while (true) {
    const auto comma = inside.find(',');
    const std::string_view element = strip(inside.substr(0, comma));
    try {
      list.push_back(parse_json_row(element));
    } catch (const JsonSyntax&) {
      list.push_back(std::string(element));
    }
    if (comma == std::string_view::npos) return list;
    inside.remove_prefix(comma + 1);
  }
}

void take_overrides(const std::vector<Override>& overrides, Given& given) {
  for (const Override& override : overrides) {
    if (find_invalid_utf8(override.value) != std::string_view::npos) {
      given.mistakes.push_back(fmt::format("{}: the value of {} is not valid UTF-8: {}", override.where,
                                           shown_key(override.key), shorten(override.value, 80)));
      continue;
    }
    flatten(
        override.key, value_of(override), [&](const std::string&) { return override.where; }, given);
  }
}

// A string with U+0000 in it would be cut there wherever the system takes it for a path.
bool has_null_character(const Json& value) {
  if (value.is_array()) return std::ranges::any_of(value, has_null_character);
  return value.is_string() && value.get_ref<const std::string&>().find('\0') != std::string::npos;
}

void assign(const Entry& entry, const std::vector<Option>& options, std::vector<std::string>& mistakes) {
  const auto option =
      std::find_if(options.begin(), options.end(), [&entry](const Option& o) { return o.key == entry.key; });
  if (option == options.end()) {
    const bool like_section = entry.value.is_object() && entry.key.find('.') == std::string::npos;
    const std::string key = shown_key(entry.key);
    const std::string problem = like_section ? unknown_section(key) : unknown_setting(key, options);
    mistakes.push_back(fmt::format("{}: {}", entry.where, problem));
  } else if (has_null_character(entry.value)) {
    mistakes.push_back(fmt::format("{}: {} has the character U+0000 in it", entry.where, entry.key));
  } else if (!option->value.read(entry.value)) {
    mistakes.push_back(
        fmt::format("{}: {} must be {}; found {}", entry.where, entry.key, option->value.kind, shown(entry.value)));
  }
}

void apply_preset(SampleConfig& sample) {
  const SamplingPreset* preset = sampling_preset(sample.preset);
  if (preset == nullptr) return;
  sample.decoding = preset->decoding;
  sample.max_prompt_tokens = preset->max_prompt_tokens;
}

std::string listed(std::vector<std::string> mistakes) {
  const std::size_t all = mistakes.size();
  if (all > most_mistakes) {
    mistakes.resize(most_mistakes);
    mistakes.push_back(fmt::format("and {} more mistakes", all - most_mistakes));
  }
  return fmt::format("{}", fmt::join(mistakes, "\n"));
}

bool sets_others(std::string_view key) { return key == "recipe" || key == "sample.preset"; }

// The settings that set others first, whatever their place, then all else on top of what they set.
RunConfig apply(Given& given, const std::vector<std::string>& rank_losses) {
  RunConfig config;
  const auto options = options_of(config, rank_losses);
  for (const bool first : {true, false}) {
    for (const Entry& entry : given.entries) {
      if (sets_others(entry.key) == first) assign(entry, options, given.mistakes);
    }
    if (first) {
      apply_recipe(config);
      apply_preset(config.sample);
    }
  }
  return config;
}

}  // namespace

Override parse_override(std::string_view argument) {
  const auto equals = argument.find('=');
  const std::string_view key = strip(argument.substr(0, equals));
  if (equals == std::string_view::npos || key.empty()) {
    throw_input("config", "--set {}: expected key=value, such as optimizer.learning_rate=1e-5", argument);
  }
  return {std::string(key), std::string(argument.substr(equals + 1))};
}

Json value_of(const Override& override) {
  const std::string_view text = override.value;
  try {
    return parse_json_row(text);
  } catch (const JsonSyntax&) {
    const bool list = text.size() >= 2 && text.front() == '[' && text.back() == ']';
    return list ? list_of_words(text.substr(1, text.size() - 2)) : Json(std::string(text));
  }
}

Resolved resolve(std::string_view text, std::string_view where, const std::vector<Override>& overrides,
                 const std::vector<std::string>& known_rank_losses) {
  Given given;
  take_text(text, where, given);
  take_overrides(overrides, given);
  Resolved result{apply(given, known_rank_losses), {}};
  if (!given.mistakes.empty()) throw InputError("config", listed(given.mistakes));
  if (auto warning = mixture_warning(result.config)) result.warnings.push_back(std::move(*warning));
  return result;
}

Resolved resolve_file(const std::filesystem::path& path, const std::vector<Override>& overrides,
                      const std::vector<std::string>& known_rank_losses) {
  const std::string text = read_file(path);
  if (is_blank(text)) throw_input("config", "{}: is empty; a config is an object {{...}}", path.string());
  Resolved result = resolve(text, path.string(), overrides, known_rank_losses);
  if (result.config.output.empty()) result.config.output = "runs/" + path.stem().string();
  return result;
}

void require_fitting_forms(const RunConfig& config) {
  std::vector<std::string> mistakes;
  const auto need_bfloat16 = [&](bool set, const char* setting) {
    if (!set || config.model.dtype == Dtype::bfloat16) return;
    mistakes.push_back(fmt::format("{} needs model.dtype bfloat16; it is {}", setting, name_of(config.model.dtype)));
  };
  need_bfloat16(config.optimizer.masters == Masters::none, "optimizer.masters none");
  need_bfloat16(config.train.gradients == Dtype::bfloat16, "train.gradients bfloat16");
  if (config.train.layer_inputs == Place::host && config.train.recompute != Recompute::layer) {
    mistakes.push_back(
        fmt::format("train.layer_inputs host needs train.recompute layer; it is {}", name_of(config.train.recompute)));
  }
  if (config.optimizer.update == Update::layer && config.optimizer.max_grad_norm > 0) {
    mistakes.push_back(
        fmt::format("optimizer.update layer needs optimizer.max_grad_norm 0; it is {}: weights move before the norm of "
                    "all gradients is known",
                    config.optimizer.max_grad_norm));
  }
  if (config.optimizer.update == Update::layer && config.optimizer.place == Place::host) {
    mistakes.push_back(
        "optimizer.update layer needs optimizer.place device; it is host: no gradients are kept that could wait there");
  }
  if (config.optimizer.moments != Moments::float32 && config.model.dtype == Dtype::float64) {
    mistakes.push_back(
        fmt::format("optimizer.moments {} does not go with model.dtype float64", name_of(config.optimizer.moments)));
  }
  const LoraOptions unset;
  if (!config.lora.rank && (config.lora.alpha != unset.alpha || config.lora.modules != unset.modules)) {
    mistakes.push_back("lora.alpha and lora.modules need lora.rank: without it all weights are trained");
  }
  const auto no_lora = [&](bool set, const char* setting, const char* why) {
    if (config.lora.rank && set) mistakes.push_back(fmt::format("{} does not go with lora.rank: {}", setting, why));
  };
  no_lora(config.model.random_init, "model.random_init true", "random weights that stay as they are make no model");
  no_lora(config.optimizer.update == Update::layer, "optimizer.update layer", "the gradients of adapters are small");
  no_lora(config.optimizer.place == Place::host, "optimizer.place host",
          "the gradients and optimizer state of adapters are small");
  if (!mistakes.empty()) throw InputError("config", listed(std::move(mistakes)));
}

Json to_json(const RunConfig& config) {
  RunConfig copy = config;
  Json result = Json::object();
  for (const Option& option : options_of(copy)) {
    const std::string_view section = section_of(option.key);
    Json& object = section.empty() ? result : result[std::string(section)];
    object[std::string(last_part(option.key))] = option.value.write();
  }
  return result;
}

}  // namespace rrhf::config
