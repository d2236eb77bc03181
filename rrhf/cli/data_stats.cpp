// What a data set is made of: rows, k, ties, lengths, cuts, and what packing saves over padding.
#include <algorithm>
#include <map>

#include "rrhf/cli/data_options.h"
#include "rrhf/cli/length_counts.h"
#include "rrhf/core/error.h"
#include "rrhf/core/unicode.h"
#include "rrhf/data/row_checks.h"

namespace rrhf::cli {
namespace {

using data::RankedExample;

std::string share_of(std::int64_t part, std::int64_t whole) {
  const double percent = whole == 0 ? 0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
  return fmt::format("{} of {} ({:.1f} %)", with_commas(part), with_commas(whole), percent);
}

void print_lengths(const char* what, const LengthCounts& lengths) {
  fmt::print("  {:<12}{:>10.0f}{:>10}{:>10}{:>10}{:>10}\n", what, lengths.mean(), with_commas(lengths.percentile(0.5)),
             with_commas(lengths.percentile(0.9)), with_commas(lengths.percentile(0.99)), with_commas(lengths.max()));
}

void print_length_head(const std::string& title) {
  fmt::print("{:<14}{:>10}{:>10}{:>10}{:>10}{:>10}\n", title, "mean", "median", "90 %", "99 %", "longest");
}

// The row as if it had no other responses than data.responses chooses.
RankedExample chosen_part(RankedExample row, ResponseChoice choice) {
  const data::ResponseRange chosen = data::chosen_responses(choice, row.responses.size());
  const auto keep = [&](auto& values) {
    values.erase(values.begin() + static_cast<std::ptrdiff_t>(chosen.first + chosen.size), values.end());
    values.erase(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(chosen.first));
  };
  keep(row.responses);
  keep(row.scores);
  return row;
}

// What the rows say by themselves.
class TextStats {
 public:
  void add(const RankedExample& row, std::string_view prompt) {
    const auto k = static_cast<std::int64_t>(row.responses.size());
    const std::int64_t pairs = data::unequal_pairs(row.scores);
    ++rows_;
    responses_ += k;
    pairs_ += pairs;
    tied_pairs_ += k * (k - 1) / 2 - pairs;
    rows_with_tie_ += !data::tied_responses(row).empty();
    rows_without_pair_ += pairs == 0;
    rows_with_duplicates_ += !data::duplicate_responses(row).empty();
    empty_responses_ += std::ssize(data::empty_responses(row));
    ++rows_by_k_[k];
    if (!row.group.empty()) ++rows_by_group_[row.group];
    prompts_.add(static_cast<std::int64_t>(code_points(prompt)));
    for (const auto& response : row.responses) response_lengths_.add(static_cast<std::int64_t>(code_points(response)));
  }

  void print(std::int64_t unusable) const {
    fmt::print(
        "{:<14}{}{}\n", "rows", with_commas(rows_),
        unusable > 0 ? fmt::format(", and {} with errors left out (rrhf data validate lists them)", unusable) : "");
    fmt::print("{:<14}{}, of them {} empty; rows with duplicates {}\n", "responses", with_commas(responses_),
               empty_responses_, rows_with_duplicates_);
    std::string ks;
    for (const auto& [k, rows] : rows_by_k_)
      ks += fmt::format("{}{} x k {}", ks.empty() ? "" : ", ", with_commas(rows), k);
    fmt::print("{:<14}{}\n", "rows by k", ks);
    fmt::print("{:<14}{} with unequal scores, {} tied; rows with a tie {}, without a pair {}\n", "pairs",
               with_commas(pairs_), with_commas(tied_pairs_), rows_with_tie_, rows_without_pair_);
    print_length_head("characters");
    print_lengths("prompt", prompts_);
    print_lengths("response", response_lengths_);
  }

  std::int64_t rows() const noexcept { return rows_; }

  void print_groups() const {
    if (rows_by_group_.empty()) return;
    fmt::print("groups\n");
    std::size_t width = 0;
    for (const auto& [group, rows] : rows_by_group_) width = std::max(width, code_points(printable(group)));
    for (const auto& [group, rows] : rows_by_group_) {
      fmt::print("  {:<{}}  {:>9}\n", printable(group), width, with_commas(rows));
    }
    const auto grouped = rows_ - std::min(rows_, grouped_rows());
    if (grouped > 0) fmt::print("  {:<{}}  {:>9}\n", "(none)", width, with_commas(grouped));
  }

 private:
  std::int64_t grouped_rows() const {
    std::int64_t rows = 0;
    for (const auto& [group, count] : rows_by_group_) rows += count;
    return rows;
  }

  std::int64_t rows_ = 0, responses_ = 0, pairs_ = 0, tied_pairs_ = 0, empty_responses_ = 0;
  std::int64_t rows_with_tie_ = 0, rows_without_pair_ = 0, rows_with_duplicates_ = 0;
  std::map<std::int64_t, std::int64_t> rows_by_k_;
  std::map<std::string, std::int64_t> rows_by_group_;
  LengthCounts prompts_, response_lengths_;
};

// What the tokenizer and the settings make of them.
class TokenStats {
 public:
  void add(const RankedExample& row, const data::RowEncoder& encoder) {
    data::CutReport cut;
    const auto encoded = encoder.encode(row, rows_++, &cut);
    prompts_.add(cut.prompt_tokens);
    for (const std::int64_t tokens : cut.response_tokens) response_lengths_.add(tokens);
    prompts_cut_ += cut.prompt_cut;
    if (const auto* query = std::get_if<data::EncodedQuery>(&encoded)) {
      responses_cut_ += cut.responses_cut;
      responses_ += std::ssize(query->responses);
      padded_ += query->padded_length * std::ssize(query->responses);
      packed_ += query->packed_tokens();
    } else {
      ++skipped_;
    }
  }

  void print(const data::EncodeOptions& options) const {
    print_length_head("tokens");
    print_lengths("prompt", prompts_);
    print_lengths("response", response_lengths_);
    fmt::print("at max_length {}, encoding {} (the lengths above are before cutting)\n", options.max_length,
               name_of(options.encoding));
    fmt::print("  {:<20}{}\n", "prompts cut", share_of(prompts_cut_, rows_));
    fmt::print("  {:<20}{}\n", "rows skipped", share_of(skipped_, rows_));
    fmt::print("  {:<20}{}\n", "responses cut", share_of(responses_cut_, responses_));
    if (packed_ == 0) return;
    fmt::print("{:<14}{} tokens padded -> {} packed ({:.2f}x)\n", "packing", with_commas(padded_), with_commas(packed_),
               static_cast<double>(padded_) / static_cast<double>(packed_));
  }

 private:
  std::int64_t rows_ = 0, responses_ = 0, prompts_cut_ = 0, responses_cut_ = 0, skipped_ = 0, padded_ = 0, packed_ = 0;
  LengthCounts prompts_, response_lengths_;
};

}  // namespace

void run_stats(const DataArguments& arguments) {
  const DataEncoding encoding(arguments.config);
  TextStats texts;
  TokenStats tokens;
  std::int64_t unusable = 0;
  const auto add = [&](const data::ReadRow& row) {
    unusable += !row.example;
    if (!row.example) return;
    const auto mistake =
        data::settings_mistake(*row.example, encoding.prompt_template(), arguments.config.data.responses);
    if (mistake) throw_input("data", "{}: {}", row.where.text(), *mistake);
    texts.add(chosen_part(*row.example, arguments.config.data.responses),
              encoding.prompt_template().apply(row.example->query));
    if (encoding.encoder() != nullptr) tokens.add(*row.example, *encoding.encoder());
  };
  for (const auto& path : arguments.files) {
    data::RowReader reader(path, arguments.config.data.format);
    fmt::print("{}   {}\n", path.string(), reader.layout());
    ReadingBar bar(path);
    while (const auto row = reader.next()) {
      add(*row);
      bar.update(reader);
    }
  }
  if (texts.rows() == 0) {
    throw_input("data", "there is no row to count: {} with errors (rrhf data validate lists them)",
                with_commas(unusable));
  }
  texts.print(unusable);
  if (encoding.encoder() != nullptr) tokens.print(encoding.encoder()->options());
  texts.print_groups();
  if (encoding.encoder() == nullptr) fmt::print("({})\n", no_tokenizer_note);
}

}  // namespace rrhf::cli
