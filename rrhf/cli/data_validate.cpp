// Every problem as it is met, a summary a file. Memory does not grow with the file.
#include <algorithm>
#include <limits>

#include "rrhf/checkpoint/hf_folder.h"
#include "rrhf/cli/data_options.h"
#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/data/all_rows.h"
#include "rrhf/data/row_checks.h"
#include "rrhf/train/inputs.h"

namespace rrhf::cli {
namespace {

using data::Problem;
using data::RankedExample;
using data::Severity;

struct Counts {
  std::int64_t rows = 0, usable = 0, errors = 0;
  std::int64_t with_empty = 0, with_duplicates = 0, with_tie = 0, without_pair = 0;
  std::size_t least_k = std::numeric_limits<std::size_t>::max(), most_k = 0;
  // with a tokenizer only
  std::int64_t longest = 0, prompts_cut = 0, responses_cut = 0, skipped = 0;
};

class FileValidator {
 public:
  FileValidator(const std::filesystem::path& path, const config::RunConfig& config, const DataEncoding& encoding)
      : path_(path), config_(config), encoding_(encoding), reader_(path, config.data.format, config.data.responses) {}

  // Adds what it could not read on from to `failures`.
  Counts run(InputErrors& failures) {
    fmt::print("{}   {}\n", path_.string(), reader_.layout());
    try {
      ReadingBar bar(path_);
      while (const auto row = reader_.next()) {
        check(*row);
        bar.update(reader_);
      }
      check_pairs();
    } catch (const InputError& failure) {
      failures.add(failure);
    }
    print_summary();
    return counts_;
  }

 private:
  void print(const Problem& problem) const {
    const auto& where = problem.where;
    print_line(fmt::format("  {}   {}{}", where.line > 0 ? where.text() : where.within_file(),
                           problem.severity == Severity::error ? "error: " : "", problem.message));
  }

  void check(const data::ReadRow& row) {
    ++counts_.rows;
    std::vector<Problem> problems = row.problems;
    bool skipped = false;
    if (row.example) {
      if (auto mistake = data::settings_mistake(*row.example, encoding_.prompt_template(), config_.data.responses)) {
        problems.push_back({Severity::error, row.where, std::move(*mistake)});
      } else {
        skipped = count_tokens(*row.example, problems);
      }
      std::string stopped = data::stop_warning(*row.example, config_.data.stop_response);
      count(*row.example, !stopped.empty() || !data::empty_responses(*row.example, config_.data.responses).empty());
      if (!stopped.empty()) problems.push_back({Severity::warning, row.where, std::move(stopped)});
    }
    const auto is_error = [](const Problem& problem) { return problem.severity == Severity::error; };
    const bool usable = std::ranges::none_of(problems, is_error) && !skipped;
    counts_.usable += usable;
    counts_.errors += std::ranges::count_if(problems, is_error);
    for (const Problem& problem : problems) print(problem);
  }

  void count(const RankedExample& row, bool with_empty) {
    counts_.with_empty += with_empty;
    counts_.with_duplicates += !data::duplicate_responses(row, config_.data.responses).empty();
    counts_.with_tie += !data::tied_responses(row, config_.data.responses).empty();
    const bool has_pair = data::has_pair(row, config_.data.responses);
    counts_.without_pair += !has_pair;
    any_pair_ = any_pair_ || has_pair;
    counts_.least_k = std::min(counts_.least_k, row.responses.size());
    counts_.most_k = std::max(counts_.most_k, row.responses.size());
  }

  // True when training skips the row.
  bool count_tokens(const RankedExample& row, std::vector<Problem>& problems) {
    if (encoding_.encoder() == nullptr) return false;
    data::CutReport cut;
    const auto encoded = encoding_.encoder()->encode(row, counts_.rows - 1, &cut);
    const auto longest = std::ranges::max(cut.response_tokens);
    counts_.longest = std::max(counts_.longest, cut.prompt_tokens + longest);
    counts_.prompts_cut += cut.prompt_cut;
    if (const auto* skipped = std::get_if<data::Skipped>(&encoded)) {
      ++counts_.skipped;
      problems.push_back({Severity::warning, row.where, "skipped in training: " + skipped->why});
      return true;
    }
    counts_.responses_cut += cut.responses_cut;
    return false;
  }

  void check_pairs() {
    if (any_pair_ || counts_.usable == 0 || config_.objective.rank_loss == "none") return;
    ++counts_.errors;
    print_line(fmt::format("  error: {}", data::no_pair_message(config_.data.responses)));
  }

  void print_summary() const {
    const Counts& c = counts_;
    std::string line = c.usable == c.rows
                           ? fmt::format(" {} usable", with_commas(c.rows))
                           : fmt::format(" {} usable of {} rows", with_commas(c.usable), with_commas(c.rows));
    line += fmt::format(" ({} with an empty response, {} with duplicates, {} with a tie), {} without a pair",
                        c.with_empty, c.with_duplicates, c.with_tie, c.without_pair);
    if (c.most_k > 0)
      line +=
          c.least_k == c.most_k ? fmt::format("; k {}", c.most_k) : fmt::format("; k {} to {}", c.least_k, c.most_k);
    if (encoding_.encoder() != nullptr) {
      line += fmt::format("; longest {} tokens; at max_length {} prompts cut {}, responses cut {}, rows skipped {}",
                          with_commas(c.longest), config_.data.max_length, c.prompts_cut, c.responses_cut, c.skipped);
    }
    print_line(line);
  }

  std::filesystem::path path_;
  const config::RunConfig& config_;
  const DataEncoding& encoding_;
  data::RowReader reader_;
  Counts counts_;
  bool any_pair_ = false;
};

// A tokenizer's folder is enough to count tokens; where a model is in it, its positions bound them.
void require_positions(const config::RunConfig& config) {
  if (config.model.path.empty() || !path_exists(std::filesystem::path(config.model.path) / "config.json")) return;
  train::require_positions(config, checkpoint::load_config(config.model.path));
}

}  // namespace

void run_validate(const DataArguments& arguments) {
  const DataEncoding encoding(arguments.config);
  require_positions(arguments.config);
  std::int64_t errors = 0, usable = 0, skipped = 0;
  InputErrors failures;
  for (const auto& path : arguments.files) {
    try {
      const Counts counts = FileValidator(path, arguments.config, encoding).run(failures);
      errors += counts.errors;
      usable += counts.usable;
      skipped += counts.skipped;
    } catch (const InputError& failure) {
      failures.add(failure);
    }
  }
  if (usable == 0 && skipped > 0) {
    ++errors;
    print_line(fmt::format("error: nothing to train on: every row is skipped at data.max_length {}",
                           arguments.config.data.max_length));
  }
  if (encoding.encoder() == nullptr) fmt::print("({})\n", no_tokenizer_note);
  std::fflush(stdout);
  if (errors > 0)
    failures.add(InputError("data", fmt::format("{} error{}, listed above", errors, errors == 1 ? "" : "s")));
  failures.require_none();
}

}  // namespace rrhf::cli
