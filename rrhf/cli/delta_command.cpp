#include "rrhf/cli/delta_command.h"

#include <array>
#include <charconv>
#include <cmath>
#include <string>

#include "rrhf/checkpoint/delta.h"
#include "rrhf/checkpoint/hf_folder.h"
#include "rrhf/cli/command.h"
#include "rrhf/cli/first_answer.h"
#include "rrhf/cli/verbs.h"
#include "rrhf/core/error.h"
#include "rrhf/core/log.h"
#include "rrhf/core/stop.h"

namespace rrhf::cli {
namespace {

// The flags that both verbs have.
void add_flags(cxxopts::Options& options, const char* dtype_help, const char* pad_row_help, const char* pad_row_words) {
  options.add_options()("base", "Model folder the delta refers to", cxxopts::value<std::string>(), "DIR")(
      "out", "Folder to make", cxxopts::value<std::string>(), "DIR")(
      "dtype", dtype_help, cxxopts::value<std::string>(), "T")("pad-row", pad_row_help, cxxopts::value<std::string>(),
                                                               pad_row_words)(
      "shard-size", "Largest file of tensors", cxxopts::value<std::string>()->default_value("5GB"), "SIZE");
}

constexpr std::string_view base_row = "base";  // beside the fills: the row that the base has

bool asks_for_base_row(const cxxopts::ParseResult& arguments) {
  return arguments.count("pad-row") > 0 && arguments["pad-row"].as<std::string>() == base_row;
}

std::optional<RowFill> pad_row_fill(const cxxopts::ParseResult& arguments, std::string_view other_words = "") {
  if (arguments.count("pad-row") == 0) return std::nullopt;
  const std::string word = arguments["pad-row"].as<std::string>();
  const auto fill = choice_named<RowFill>(word);
  if (!fill) throw_input("usage", "--pad-row {}: must be one of {}{}", word, choice_list<RowFill>(), other_words);
  return fill;
}

void print_rounding(const checkpoint::Rounding& rounding) {
  if (rounding.inexact_elements == 0) {
    fmt::print("exact     all {} tensors come back bit for bit\n", rounding.tensors);
    return;
  }
  fmt::print("rounding  {} of {} elements, in {} of {} tensors, do not come back bit for bit\n",
             with_commas(rounding.inexact_elements), with_commas(rounding.elements), rounding.inexact_tensors,
             rounding.tensors);
  if (rounding.largest_absolute == 0) {
    fmt::print("          they are zeros of the other sign: equal in value\n");
  } else {
    fmt::print("          largest error {:.2g}; largest relative error {:.2g} in {}; a wider --dtype loses less\n",
               rounding.largest_absolute, rounding.largest_relative, rounding.largest_in);
  }
}

std::string_view pad_row_text(RowFill fill) { return fill == RowFill::zero ? "zero" : "the mean of its other rows"; }

std::string rows_text(std::int64_t rows) { return fmt::format("{} row{}", rows, rows == 1 ? "" : "s"); }

std::string last_rows_text(std::int64_t rows) { return rows == 1 ? "last row" : fmt::format("last {} rows", rows); }

// What a vocabulary has against its base's, and what became of the rows that only one of them has.
std::string vocabulary_text(const checkpoint::CountedRows& rows, RowFill fill) {
  const std::int64_t more = rows.delta - rows.base;
  std::string text = more == 0  ? "as many rows as the base"
                     : more > 0 ? fmt::format("{} more than the base", rows_text(more))
                                : fmt::format("{} fewer than the base", rows_text(-more));
  if (rows.set_aside() > 0) text += fmt::format("; the base's {} set aside", last_rows_text(rows.set_aside()));
  if (rows.filled() > 0) {
    text += fmt::format("; the base taken as {} in the {}", pad_row_text(fill), last_rows_text(rows.filled()));
  }
  return text;
}

std::string_view decided_by(const checkpoint::DeltaApplied& made) {
  switch (made.rows.by) {
    case checkpoint::CountedRows::By::manifest:
      return "as the delta's manifest says";
    case checkpoint::CountedRows::By::pad_token:
      return made.tokenizer_of_base
                 ? "since the last row is [PAD] by the base's tokenizer, the delta having none, and taken as one that "
                   "the delta's base did not have; --pad-row base: it had"
                 : "since the delta's last row is [PAD], which its base did not have; --pad-row base: it had";
    case checkpoint::CountedRows::By::no_pad:
      return made.tokenizer_of_base ? "since the base's tokenizer, the delta having none, has no [PAD] in the last row"
                                    : "since the delta's tokenizer has no [PAD] in the last row";
    case checkpoint::CountedRows::By::asked:
      return "as asked for by --pad-row base";
  }
  return "";
}

void make(int argc, const char* const* argv) {
  cxxopts::Options options("rrhf delta make", "Write a model as its difference from a base: target - base.");
  add_flags(options, "Dtype of the delta and of the sums [each tensor's own in the target]",
            "What the base's missing rows of vocabulary are taken for [zero]", "zero|mean");
  options.add_options()("target", "Model folder to be written as a delta", cxxopts::value<std::string>(), "DIR");
  const auto arguments = parse(options, argc, argv);
  if (!arguments) return;
  const checkpoint::MakeDelta settings{.base = required(*arguments, "base", "delta make"),
                                       .target = required(*arguments, "target", "delta make"),
                                       .out = required(*arguments, "out", "delta make"),
                                       .dtype = dtype_flag(*arguments, "dtype"),
                                       .pad_row = pad_row_fill(*arguments).value_or(RowFill::zero),
                                       .shard_bytes = parse_bytes((*arguments)["shard-size"].as<std::string>())};
  const StopSignals signals;
  const checkpoint::DeltaMade made = checkpoint::make_delta(settings);
  fmt::print("delta     {}: {} parameters, {}\n", settings.out.string(), with_commas(made.parameters),
             name_of(made.dtype));
  fmt::print("vocab     {}\n", vocabulary_text(made.rows, settings.pad_row));
  print_rounding(made.rounding);
}

void print_sum(const checkpoint::WeightSum::Result& sum, double expected) {
  fmt::print(
      "sum       {:.4f}, as expected within 0.01: the weights add up to {:.4f}, in float32 as torch adds to {:.4f} "
      "({:+.4f}); with the rotary buffers of old state dicts {:.4f}, in float32 {:.4f}\n",
      expected, sum.exact, sum.float32, sum.float32 - sum.exact, sum.exact_with_rotary, sum.float32_with_rotary);
}

std::string base_text(checkpoint::BaseCheck check) {
  switch (check) {
    case checkpoint::BaseCheck::verified:
      return "verified: the files the delta was made from";
    case checkpoint::BaseCheck::weights:
      return "the weights the delta was made from, beside other small files";
    case checkpoint::BaseCheck::unverified:
      return "could not be verified, since the delta carries no hashes; names, shapes and vocabulary fit";
    case checkpoint::BaseCheck::other:
      return "other files than the delta was made from, taken because of --any-base";
  }
  return "";
}

double sum_in(const std::string& word) {
  double sum = 0;
  const auto [rest, failure] = std::from_chars(word.data(), word.data() + word.size(), sum);
  if (failure != std::errc() || rest != word.data() + word.size() || !std::isfinite(sum)) {
    throw_input("usage", "--expect-sum {}: a number is needed", word);
  }
  return sum;
}

void apply(int argc, const char* const* argv) {
  cxxopts::Options options("rrhf delta apply", "Recover a model from a base and a delta: base + delta.");
  add_flags(options, "Dtype of the sums and of the result [the delta's]",
            "What the base's row of [PAD] is taken for: zero (Wombat), mean (Alpaca-7B), or base: the row the base "
            "has, for a delta made over one [what the delta says, else zero]",
            "zero|mean|base");
  options.add_options()("delta", "Folder of the delta", cxxopts::value<std::string>(), "DIR")(
      "expect-sum", "Refuse a result whose weights do not add up to this (Alpaca-7B: 50637.1836)",
      cxxopts::value<std::string>(),
      "X")("any-base", "Take another base than the delta names")("no-answer", "Do not let the result answer a prompt");
  const auto arguments = parse(options, argc, argv);
  if (!arguments) return;
  const bool keep_base_row = asks_for_base_row(*arguments);
  checkpoint::ApplyDelta settings{.base = required(*arguments, "base", "delta apply"),
                                  .delta = required(*arguments, "delta", "delta apply"),
                                  .out = required(*arguments, "out", "delta apply"),
                                  .dtype = dtype_flag(*arguments, "dtype"),
                                  .pad_row = keep_base_row ? std::nullopt : pad_row_fill(*arguments, " | base"),
                                  .keep_base_row = keep_base_row,
                                  .expected_sum = {},
                                  .any_base = arguments->count("any-base") > 0,
                                  .shard_bytes = parse_bytes((*arguments)["shard-size"].as<std::string>())};
  if (arguments->count("expect-sum") > 0) settings.expected_sum = sum_in(text_of(*arguments, "expect-sum"));
  const StopSignals signals;
  const checkpoint::DeltaApplied made = checkpoint::apply_delta(settings);
  fmt::print("recovered {}: {} parameters, {}\n", settings.out.string(), with_commas(made.parameters),
             name_of(made.dtype));
  fmt::print("base      {}\n", base_text(made.base));
  fmt::print("vocab     {} ({})\n", vocabulary_text(made.rows, made.pad_row), decided_by(made));
  if (made.sum) print_sum(*made.sum, *settings.expected_sum);
  std::fflush(stdout);
  if (arguments->count("no-answer") == 0) print_first_answer(settings.out);
}

constexpr std::array verbs{
    Verb{"make", "write a model as its difference from a base", make},
    Verb{"apply", "recover a model from a base and a delta", apply},
};

}  // namespace

void delta_command(int argc, const char* const* argv) {
  run_verb("Models as differences from a base that may not be passed on: Alpaca-7B, Wombat-7B.", verbs, argc, argv);
}

}  // namespace rrhf::cli
