// The settings that are one of a few words, each word written once.
//
// Config files, help texts, errors and the code that acts on a choice share these tables.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace rrhf {

/// How token sequences are laid out: `plain` is [BOS q][r EOS], `released` [BOS q][BOS r EOS] as the released code
/// does.
enum class Encoding { plain, released };
/// Which id stands for BOS: the model's own, or EOS (as the release had it for paths with "llama" in them).
enum class BosToken { model, eos };
/// Which responses of a row are trained on: all, the last two, or all but the last two.
enum class ResponseChoice { all, provided, sampled };
/// What a literal "</s>" in a text becomes: the special token (as HF's slow tokenizer does) or ordinary text.
enum class SpecialText { parse, plain };
enum class DataFormat { automatic, rrhf, gpt4llm, hh, preference };
enum class Normalization { response, padded, none };
enum class SftReduction { mean, sum, padded };
enum class RowOrder { shuffled, released };
/// What happens to the queries left over at an epoch's end: a smaller step, or carried into the next epoch.
enum class EpochEnd { step, carry };
enum class DeviceChoice { automatic, cpu, cuda };
enum class Dtype { float32, bfloat16, float64, float16 };
/// What new rows of an embedding hold: zeros, or the mean of the rows that were there.
enum class RowFill { zero, mean };
/// How a reward model's query and response become tokens: as one text, or each by itself.
enum class Joining { together, apart };
enum class ScheduleName { cosine, linear, constant };
/// What carries the collectives between processes; automatic: nccl for GPUs, else gloo.
enum class BackendChoice { automatic, gloo, nccl };
enum class Recipe { standard, paper, released };
/// Whether every rank holds the whole model, or a part of everything.
enum class ParallelMode { replicated, sharded };
/// What of a layer's forward pass is computed again in the backward pass.
enum class Recompute { none, mlp, layer };
/// Full-precision copies of bfloat16 weights.
enum class Masters { float32, none };
/// Where gradients, masters and moments are kept.
enum class Place { device, host };
/// When weights follow their gradients: at the end of a step, or each layer's as soon as the backward pass has them.
enum class Update { step, layer };
/// How an optimizer's moments are kept; float32: as wide as the masters.
enum class Moments { float32, bfloat16, eight_bit };
/// The matrices of a decoder layer, by their names in a checkpoint.
enum class Projection { q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj };
/// How answers are decoded.
enum class DecodingMethod { greedy, top_p, beam, diverse_beam };

template <class E>
struct Choices;  // names: an array of {word, value}

template <>
struct Choices<Encoding> {
  static constexpr std::array names{std::pair{"plain", Encoding::plain}, std::pair{"released", Encoding::released}};
};
template <>
struct Choices<BosToken> {
  static constexpr std::array names{std::pair{"model", BosToken::model}, std::pair{"eos", BosToken::eos}};
};
template <>
struct Choices<ResponseChoice> {
  static constexpr std::array names{std::pair{"all", ResponseChoice::all},
                                    std::pair{"provided", ResponseChoice::provided},
                                    std::pair{"sampled", ResponseChoice::sampled}};
};
template <>
struct Choices<SpecialText> {
  static constexpr std::array names{std::pair{"parse", SpecialText::parse}, std::pair{"plain", SpecialText::plain}};
};
template <>
struct Choices<DataFormat> {
  static constexpr std::array names{std::pair{"auto", DataFormat::automatic}, std::pair{"rrhf", DataFormat::rrhf},
                                    std::pair{"gpt4llm", DataFormat::gpt4llm}, std::pair{"hh", DataFormat::hh},
                                    std::pair{"preference", DataFormat::preference}};
};
template <>
struct Choices<Normalization> {
  static constexpr std::array names{std::pair{"response", Normalization::response},
                                    std::pair{"padded", Normalization::padded}, std::pair{"none", Normalization::none}};
};
template <>
struct Choices<SftReduction> {
  static constexpr std::array names{std::pair{"mean", SftReduction::mean}, std::pair{"sum", SftReduction::sum},
                                    std::pair{"padded", SftReduction::padded}};
};
template <>
struct Choices<RowOrder> {
  static constexpr std::array names{std::pair{"shuffled", RowOrder::shuffled},
                                    std::pair{"released", RowOrder::released}};
};
template <>
struct Choices<EpochEnd> {
  static constexpr std::array names{std::pair{"step", EpochEnd::step}, std::pair{"carry", EpochEnd::carry}};
};
template <>
struct Choices<DeviceChoice> {
  static constexpr std::array names{std::pair{"auto", DeviceChoice::automatic}, std::pair{"cpu", DeviceChoice::cpu},
                                    std::pair{"cuda", DeviceChoice::cuda}};
};
template <>
struct Choices<Dtype> {
  static constexpr std::array names{std::pair{"float32", Dtype::float32}, std::pair{"bfloat16", Dtype::bfloat16},
                                    std::pair{"float64", Dtype::float64}, std::pair{"float16", Dtype::float16}};
};
template <>
struct Choices<RowFill> {
  static constexpr std::array names{std::pair{"zero", RowFill::zero}, std::pair{"mean", RowFill::mean}};
};
template <>
struct Choices<Joining> {
  static constexpr std::array names{std::pair{"together", Joining::together}, std::pair{"apart", Joining::apart}};
};
template <>
struct Choices<ScheduleName> {
  static constexpr std::array names{std::pair{"cosine", ScheduleName::cosine},
                                    std::pair{"linear", ScheduleName::linear},
                                    std::pair{"constant", ScheduleName::constant}};
};
template <>
struct Choices<BackendChoice> {
  static constexpr std::array names{std::pair{"auto", BackendChoice::automatic}, std::pair{"gloo", BackendChoice::gloo},
                                    std::pair{"nccl", BackendChoice::nccl}};
};
template <>
struct Choices<Recipe> {
  static constexpr std::array names{std::pair{"default", Recipe::standard}, std::pair{"paper", Recipe::paper},
                                    std::pair{"released", Recipe::released}};
};
template <>
struct Choices<ParallelMode> {
  static constexpr std::array names{std::pair{"replicated", ParallelMode::replicated},
                                    std::pair{"sharded", ParallelMode::sharded}};
};
template <>
struct Choices<Masters> {
  static constexpr std::array names{std::pair{"float32", Masters::float32}, std::pair{"none", Masters::none}};
};
template <>
struct Choices<Place> {
  static constexpr std::array names{std::pair{"device", Place::device}, std::pair{"host", Place::host}};
};
template <>
struct Choices<Update> {
  static constexpr std::array names{std::pair{"step", Update::step}, std::pair{"layer", Update::layer}};
};
template <>
struct Choices<Moments> {
  static constexpr std::array names{std::pair{"float32", Moments::float32}, std::pair{"bfloat16", Moments::bfloat16},
                                    std::pair{"8bit", Moments::eight_bit}};
};
template <>
struct Choices<Recompute> {
  static constexpr std::array names{std::pair{"none", Recompute::none}, std::pair{"mlp", Recompute::mlp},
                                    std::pair{"layer", Recompute::layer}};
};
template <>
struct Choices<Projection> {
  static constexpr std::array names{
      std::pair{"q_proj", Projection::q_proj},       std::pair{"k_proj", Projection::k_proj},
      std::pair{"v_proj", Projection::v_proj},       std::pair{"o_proj", Projection::o_proj},
      std::pair{"gate_proj", Projection::gate_proj}, std::pair{"up_proj", Projection::up_proj},
      std::pair{"down_proj", Projection::down_proj}};
};

template <>
struct Choices<DecodingMethod> {
  static constexpr std::array names{std::pair{"greedy", DecodingMethod::greedy},
                                    std::pair{"top-p", DecodingMethod::top_p}, std::pair{"beam", DecodingMethod::beam},
                                    std::pair{"diverse-beam", DecodingMethod::diverse_beam}};
};

/// The word for a value.
template <class E>
constexpr std::string_view name_of(E value) {
  for (const auto& [name, choice] : Choices<E>::names) {
    if (choice == value) return name;
  }
  return "?";
}

/// The value for a word, or nothing.
template <class E>
constexpr std::optional<E> choice_named(std::string_view word) {
  for (const auto& [name, choice] : Choices<E>::names) {
    if (word == name) return choice;
  }
  return std::nullopt;
}

/// "plain | released".
template <class E>
std::string choice_list() {
  std::string list;
  for (const auto& [name, choice] : Choices<E>::names) list += (list.empty() ? "" : " | ") + std::string(name);
  return list;
}

}  // namespace rrhf
