// One row as the model will see it.
#include <algorithm>

#include "rrhf/cli/data_options.h"
#include "rrhf/core/error.h"
#include "rrhf/core/unicode.h"
#include "rrhf/data/row_checks.h"

namespace rrhf::cli {
namespace {

using data::EncodedQuery;
using data::RankedExample;

// Of a long token table only this many rows at its start and end are shown, unless --all is given.
constexpr std::size_t shown_first = 12;
constexpr std::size_t shown_last = 4;

void print_text(std::string_view text) {
  if (text.empty()) return fmt::print("  (empty)\n");
  while (true) {
    const std::size_t end = text.find('\n');
    fmt::print("  | {}\n", valid_utf8(text.substr(0, end)));
    if (end == std::string_view::npos) return;
    text.remove_prefix(end + 1);
  }
}

std::string length_in_words(std::size_t tokens, std::int64_t whole) {
  const bool cut = static_cast<std::int64_t>(tokens) < whole;
  return fmt::format("{} token{}, {}", tokens, tokens == 1 ? "" : "s",
                     cut ? fmt::format("CUT from {}", whole) : "whole");
}

// Prints the token tables of one encoded query.
class TokenTables {
 public:
  TokenTables(const EncodedQuery& query, const data::CutReport& cut, const text::Tokenizer& tokenizer, bool all)
      : query_(query), cut_(cut), tokenizer_(tokenizer), all_(all) {}

  void print_prompt() const {
    fmt::print("\nprompt: {}; rows 0 to {} of the pack\n", length_in_words(query_.prompt.size(), cut_.prompt_tokens),
               query_.prompt.size() - 1);
    fmt::print("  {:>5} {:>8} {:>7}  {}\n", "row", "position", "id", "piece");
    for_shown(query_.prompt.size(), [&](std::size_t i) {
      fmt::print("  {:>5} {:>8} {:>7}  {}\n", i, i, query_.prompt[i], tokenizer_.piece(query_.prompt[i]));
    });
  }

  void print_response(std::size_t index, std::size_t row_of_first) const {
    const auto& tokens = query_.responses[index];
    const std::size_t prompt = query_.prompt.size();
    fmt::print("  {}; each token is a label, predicted by the row named last\n",
               length_in_words(tokens.size(), cut_.response_tokens[index]));
    fmt::print("  {:>5} {:>8} {:>7}  {:<16} {}\n", "row", "position", "id", "piece", "predicted by row");
    for_shown(tokens.size(), [&](std::size_t i) {
      const std::size_t row = row_of_first + i;
      fmt::print("  {:>5} {:>8} {:>7}  {:<16} {}\n", row, prompt + i, tokens[i], tokenizer_.piece(tokens[i]),
                 i == 0 ? prompt - 1 : row - 1);
    });
  }

 private:
  template <class Print>
  void for_shown(std::size_t count, Print print) const {
    const bool whole = all_ || count <= shown_first + shown_last + 1;
    for (std::size_t i = 0; i < count; ++i) {
      if (!whole && i == shown_first) {
        fmt::print("    ... {} more (--all shows them)\n", count - shown_first - shown_last);
        i = count - shown_last;
      }
      print(i);
    }
  }

  const EncodedQuery& query_;
  const data::CutReport& cut_;
  const text::Tokenizer& tokenizer_;
  bool all_;
};

void print_settings(const config::DataConfig& settings) {
  fmt::print(
      "settings: template {}, encoding {}, bos_token {}, special_tokens {}, max_length {}, responses {}, "
      "stop_response {}\n",
      settings.template_name, name_of(settings.encoding), name_of(settings.bos_token), name_of(settings.special_tokens),
      settings.max_length, name_of(settings.responses), settings.stop_response);
}

void print_pairs(const RankedExample& row, data::ResponseRange chosen) {
  std::string ties;
  std::int64_t pairs = 0;
  fmt::print("\npairs that count (the model should score the second higher)\n");
  for (std::size_t i = chosen.first; i < chosen.first + chosen.size; ++i) {
    for (std::size_t j = i + 1; j < chosen.first + chosen.size; ++j) {
      const auto [low, high] = row.scores[i] < row.scores[j] ? std::pair(i, j) : std::pair(j, i);
      if (row.scores[i] == row.scores[j]) {
        ties +=
            fmt::format("  response {} ({}) = response {} ({}): a tie, no pair\n", i, row.scores[i], j, row.scores[j]);
        continue;
      }
      ++pairs;
      fmt::print("  response {} ({}) < response {} ({})\n", low, row.scores[low], high, row.scores[high]);
    }
  }
  fmt::print("{}", ties);
  if (pairs == 0) fmt::print("  none: only the SFT loss counts\n");
}

class RowView {
 public:
  RowView(const RankedExample& row, const DataArguments& arguments, const DataEncoding& encoding)
      : row_(row),
        arguments_(arguments),
        encoding_(encoding),
        chosen_(data::chosen_responses(arguments.config.data.responses, row.responses.size())) {
    const auto first = row.scores.begin() + static_cast<std::ptrdiff_t>(chosen_.first);
    best_ = chosen_.first + data::best_response({first, first + static_cast<std::ptrdiff_t>(chosen_.size)});
  }

  void print() const {
    print_settings(arguments_.config.data);
    const std::string prompt = encoding_.prompt_template().apply(row_.query);
    fmt::print("\nprompt text ({} characters{})\n", with_commas(static_cast<long long>(code_points(prompt))),
               prompt == row_.query ? "; the query as it is" : "; template applied");
    print_text(prompt);
    if (const auto* encoder = encoding_.encoder()) {
      data::CutReport cut;
      const auto encoded = encoder->encode(row_, row_.where.row, &cut);
      if (const auto* query = std::get_if<EncodedQuery>(&encoded)) return print_encoded(*query, cut);
      fmt::print("\nskipped in training: {}\n", std::get<data::Skipped>(encoded).why);
    }
    print_responses(nullptr, nullptr);
    print_pairs(row_, chosen_);
  }

 private:
  void print_encoded(const EncodedQuery& query, const data::CutReport& cut) const {
    const TokenTables tables(query, cut, *encoding_.tokenizer(), arguments_.all_tokens);
    tables.print_prompt();
    print_responses(&query, &tables);
    print_pairs(row_, chosen_);
    fmt::print("\nbest response (SFT): {}\n", best_);
    fmt::print("labels {}, packed {} tokens, padded length {} (x {} responses = {} tokens without packing)\n",
               query.label_count(), query.packed_tokens(), query.padded_length, query.responses.size(),
               query.padded_length * std::ssize(query.responses));
  }

  void print_responses(const EncodedQuery* query, const TokenTables* tables) const {
    std::size_t packed_row = query != nullptr ? query->prompt.size() : 0;
    for (std::size_t i = 0; i < row_.responses.size(); ++i) {
      const bool chosen = i >= chosen_.first && i < chosen_.first + chosen_.size;
      fmt::print("\nresponse {}: reward {}{}{}{}\n", i, row_.scores[i],
                 row_.writers.empty() ? "" : ", by " + row_.writers[i], i == best_ ? ", the best" : "",
                 chosen ? "" : ", dropped by data.responses");
      print_text(arguments_.config.data.stop_response ? data::stop_response(row_.responses[i]) : row_.responses[i]);
      if (!chosen || tables == nullptr) continue;
      tables->print_response(i - chosen_.first, packed_row);
      packed_row += query->responses[i - chosen_.first].size();
    }
  }

  const RankedExample& row_;
  const DataArguments& arguments_;
  const DataEncoding& encoding_;
  data::ResponseRange chosen_;
  std::size_t best_ = 0;
};

data::ReadRow find_row(const std::filesystem::path& path, DataFormat format, std::int64_t wanted) {
  data::RowReader reader(path, format);
  ReadingBar bar(path);
  std::int64_t rows = 0;
  while (auto row = reader.next()) {
    if (rows++ == wanted) {
      fmt::print("{}   row {}, {}\n", row->where.line > 0 ? row->where.text() : path.string(), wanted, reader.layout());
      return std::move(*row);
    }
    bar.update(reader);
  }
  throw_input("data", "{}: row {} is not there; the file has rows 0 to {}", path.string(), wanted, rows - 1);
}

}  // namespace

void run_inspect(const DataArguments& arguments) {
  if (arguments.files.size() != 1) {
    throw_input("data", "inspect looks at one file; {} are named", arguments.files.size());
  }
  const DataEncoding encoding(arguments.config);
  const data::ReadRow row = find_row(arguments.files[0], arguments.config.data.format, arguments.row.value_or(0));
  for (const data::Problem& problem : row.problems) {
    if (problem.severity == data::Severity::warning) fmt::print("warning: {}\n", problem.message);
  }
  data::require_no_errors(row.problems);
  if (const auto mistake =
          data::settings_mistake(*row.example, encoding.prompt_template(), arguments.config.data.responses)) {
    throw_input("data", "{}: {}", row.where.text(), *mistake);
  }
  RowView(*row.example, arguments, encoding).print();
  if (encoding.encoder() == nullptr) fmt::print("\n({})\n", no_tokenizer_note);
}

}  // namespace rrhf::cli
