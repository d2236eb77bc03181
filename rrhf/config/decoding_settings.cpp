#include "rrhf/config/decoding_settings.h"

#include <array>
#include <charconv>

#include "rrhf/core/error.h"

namespace rrhf::config {
namespace {

constexpr std::array all_methods{DecodingMethod::greedy, DecodingMethod::top_p, DecodingMethod::beam,
                                 DecodingMethod::diverse_beam};
constexpr std::array drawing{DecodingMethod::top_p};
constexpr std::array with_beams{DecodingMethod::beam, DecodingMethod::diverse_beam};
constexpr std::array with_groups{DecodingMethod::diverse_beam};

constexpr std::array settings{
    DecodingSetting{"method", "METHOD", "How answers are decoded: greedy | top-p | beam | diverse-beam",
                    &DecodingOptions::method, all_methods},
    DecodingSetting{"max-new-tokens", "N", "Tokens an answer has at most, its EOS included",
                    &DecodingOptions::max_new_tokens, all_methods},
    DecodingSetting{"temperature", "T", "top-p: what logits are divided by", &DecodingOptions::temperature, drawing},
    DecodingSetting{"top-p", "P", "top-p: draw from the fewest tokens whose probabilities reach P",
                    &DecodingOptions::top_p, drawing},
    DecodingSetting{"top-k", "N", "top-p: draw from the N likeliest tokens alone; 0: from all", &DecodingOptions::top_k,
                    drawing},
    DecodingSetting{"beams", "N", "beam methods: hypotheses under way", &DecodingOptions::beams, with_beams},
    DecodingSetting{"groups", "N", "diverse-beam: groups that the beams are shared out among", &DecodingOptions::groups,
                    with_groups},
    DecodingSetting{"diversity", "X", "diverse-beam: what a group pays for a token that an earlier one chose",
                    &DecodingOptions::diversity, with_groups},
    DecodingSetting{"length-penalty", "X", "beam methods: hypotheses are ordered by log-prob / length^X",
                    &DecodingOptions::length_penalty, with_beams},
    DecodingSetting{"repetition-penalty", "X", "Above 1, tokens that were there become less likely",
                    &DecodingOptions::repetition_penalty, all_methods},
    DecodingSetting{"seed", "N", "top-p: the same seed draws the same answers", &DecodingOptions::seed, drawing},
};

template <class T>
T parse_number(const DecodingSetting& setting, std::string_view word, std::string_view needed) {
  T number{};
  const auto [rest, failure] = std::from_chars(word.data(), word.data() + word.size(), number);
  if (failure != std::errc() || rest != word.data() + word.size()) {
    throw_input("usage", "--{} {}: {} is needed", setting.name, word, needed);
  }
  return number;
}

DecodingMethod parse_as(const DecodingSetting& setting, std::string_view word, DecodingMethod) {
  const auto method = choice_named<DecodingMethod>(word);
  if (!method) throw_input("usage", "--{} {}: must be one of {}", setting.name, word, choice_list<DecodingMethod>());
  return *method;
}
std::int64_t parse_as(const DecodingSetting& setting, std::string_view word, std::int64_t) {
  return parse_number<std::int64_t>(setting, word, "a whole number");
}
std::uint64_t parse_as(const DecodingSetting& setting, std::string_view word, std::uint64_t) {
  return parse_number<std::uint64_t>(setting, word, "a whole number from 0 on");
}
double parse_as(const DecodingSetting& setting, std::string_view word, double) {
  return parse_number<double>(setting, word, "a number");
}

Json json_of(DecodingMethod method) { return name_of(method); }
Json json_of(auto number) { return number; }

std::string text_of(DecodingMethod method) { return std::string(name_of(method)); }
std::string text_of(auto number) { return fmt::format("{}", number); }

}  // namespace

std::span<const DecodingSetting> decoding_settings() { return settings; }

std::string value_text(const DecodingSetting& setting, const DecodingOptions& options) {
  return std::visit([&](auto field) { return text_of(options.*field); }, setting.field);
}

void assign(const DecodingSetting& setting, DecodingOptions& options, std::string_view word) {
  std::visit([&](auto field) { options.*field = parse_as(setting, word, options.*field); }, setting.field);
}

std::string no_effect(const DecodingSetting& setting, const DecodingOptions& options) {
  std::string methods;
  for (const DecodingMethod method : setting.methods) {
    if (method == options.method) return {};
    methods += fmt::format("{}{}", methods.empty() ? "" : " and ", name_of(method));
  }
  return fmt::format("--{} is of --method {}; {} takes no notice of it", setting.name, methods,
                     name_of(options.method));
}

Json to_json(const DecodingOptions& options) {
  Json json;
  for (const DecodingSetting& setting : settings) {
    json[std::string(setting.name)] = std::visit([&](auto field) { return json_of(options.*field); }, setting.field);
  }
  json["answers"] = options.answers;
  json["stop"] = options.stop;
  return json;
}

}  // namespace rrhf::config
