#include "rrhf/workflow/score.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <memory>
#include <ostream>
#include <span>
#include <utility>

#include "rrhf/checkpoint/hf_folder.h"
#include "rrhf/checkpoint/reward_folder.h"
#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/log.h"
#include "rrhf/core/part_file.h"
#include "rrhf/core/sha256.h"
#include "rrhf/core/stop.h"
#include "rrhf/reward/merge.h"
#include "rrhf/reward/rule_file.h"
#include "rrhf/train/device.h"
#include "rrhf/train/memory_advice.h"
#include "rrhf/workflow/scorer.h"

namespace rrhf::workflow {
namespace {

namespace fs = std::filesystem;
using Scores = std::vector<std::vector<std::optional<double>>>;

// What is computed between two looks at the stop signal and at the part file: some packs of tokens.
constexpr std::size_t bytes_at_once = 16 * 1024;

void require_free_place(const ScoreTask& task) {
  if (task.out.empty()) return;
  if (!task.force && fs::exists(task.out)) {
    throw_input("score", "{}: is there already; --force overwrites it", task.out.string());
  }
  require_writable_file(task.out);
}

std::vector<reward::Row> read_rows(const ScoreTask& task, const config::RunConfig& config) {
  Progress progress;
  return reward::read_rows(task.data, config.data.format, [&](double share) {
    progress.update([&] { return fmt::format("reading data   {}", bar(share)); });
  });
}

void show(Progress& progress, std::size_t done, std::size_t all) {
  progress.update([&] {
    return fmt::format("scoring        {}  {} of {} rows", bar(static_cast<double>(done) / static_cast<double>(all)),
                       with_commas(static_cast<long long>(done)), with_commas(static_cast<long long>(all)));
  });
}

std::vector<std::optional<double>> as_optional(const std::vector<double>& scores) {
  return {scores.begin(), scores.end()};
}

// --- the sources
// ------------------------------------------------------------------------------------------------------

Scores by_rules(const ScoreTask& task, const std::vector<reward::Row>& rows) {
  std::optional<text::Tokenizer> tokenizer;
  if (!task.tokenizer.empty()) tokenizer = text::Tokenizer::load(task.tokenizer);
  const auto rules = reward::RuleFile::load(task.from, tokenizer ? &*tokenizer : nullptr);
  Progress progress;
  Scores scores;
  for (const reward::Row& row : rows) {
    if (StopSignals::requested()) throw Interrupted("score", "stopped; nothing is written");
    scores.push_back(as_optional(rules.score(row)));
    show(progress, scores.size(), rows.size());
  }
  return scores;
}

Scores by_merging(const ScoreTask& task, const std::vector<reward::Row>& rows) {
  reward::Merged merged = reward::merge_scores(task.from, rows);
  reward::require_complete(merged, task.allow_missing);
  if (!merged.missing.empty()) {
    warn("{} responses have no score and are left out, the first: {}", with_commas(std::ssize(merged.missing)),
         merged.missing.front());
  }
  return std::move(merged.scores);
}

// The next rows that are computed together.
std::span<const reward::Row> next_rows(const std::vector<reward::Row>& rows, std::size_t first) {
  std::size_t end = first, bytes = 0;
  while (end < rows.size() && (end == first || bytes < bytes_at_once)) {
    bytes += rows[end].query.size();
    for (const std::string& response : rows[end].responses) bytes += response.size();
    ++end;
  }
  return std::span(rows).subspan(first, end - first);
}

void log_skipped(const std::vector<reward::Row>& rows, const std::vector<reward::RowScore>& finished) {
  const auto skipped = [](const reward::RowScore& score) { return !score.skipped.empty(); };
  const auto first = std::ranges::find_if(finished, skipped);
  if (first == finished.end()) return;
  const auto row = static_cast<std::size_t>(first - finished.begin());
  warn("{} of {} rows have no score and are left out, the first: {}: {}",
       with_commas(std::ranges::count_if(finished, skipped)), with_commas(std::ssize(rows)), rows[row].where.text(),
       first->skipped);
}

Json identity_of(const Scorer& scorer, const ScoreTask& task, const config::RunConfig& config) {
  Json identity = scorer.identity();
  identity["data"] = fs::absolute(task.data).string();
  identity["data_sha256"] = sha256_of_file(task.data);
  identity["format"] = name_of(config.data.format);
  return identity;
}

std::unique_ptr<Scorer> make_scorer(const ScoreTask& task, const config::RunConfig& config) {
  return task.source == ScoreTask::Source::model ? make_logprob_scorer(config) : make_reward_scorer(task.from, config);
}

// In the part file: the scores, or why there are none.
Json to_result(const reward::RowScore& score) {
  return score.skipped.empty() ? Json(score.scores) : Json(score.skipped);
}

reward::RowScore from_result(const Json& result) {
  if (result.is_string()) return {.scores = {}, .skipped = result.get<std::string>()};
  return {.scores = result.get<std::vector<double>>(), .skipped = {}};
}

// The rows that are done; where an output is written, also in its part file, which is made here.
class Finished {
 public:
  Finished(const ScoreTask& task, const Json& identity, std::optional<PartFile>& part) : part_(part) {
    if (task.out.empty()) return;
    part_.emplace("score", task.out, identity, task.restart);
    for (const Json& result : part_->finished()) rows_.push_back(from_result(result));
  }

  const std::vector<reward::RowScore>& rows() const { return rows_; }

  void add(std::vector<reward::RowScore> rows) {
    std::vector<Json> results;
    for (const reward::RowScore& row : rows) results.push_back(to_result(row));
    if (part_) part_->add(std::move(results));
    std::ranges::move(rows, std::back_inserter(rows_));
  }

 private:
  std::optional<PartFile>& part_;
  std::vector<reward::RowScore> rows_;
};

// `scores` are those of the rows from `first` on.
void require_finite(const std::vector<reward::RowScore>& scores, const ScoreTask& task,
                    const std::vector<reward::Row>& rows, std::size_t first) {
  for (std::size_t i = 0; i < scores.size(); ++i) {
    for (std::size_t k = 0; k < scores[i].scores.size(); ++k) {
      if (std::isfinite(scores[i].scores[k])) continue;
      throw_error("score", "{}: the score of response {} is not a finite number: the weights of {} are broken",
                  rows[first + i].where.text(), k, task.from.string());
    }
  }
}

Scores by_model(const ScoreTask& task, const config::RunConfig& config, const std::vector<reward::Row>& rows,
                std::optional<PartFile>& part) {
  const std::unique_ptr<Scorer> scorer = make_scorer(task, config);
  Finished finished(task, identity_of(*scorer, task, config), part);
  if (!finished.rows().empty()) {
    log("going on after {} of {} rows", with_commas(std::ssize(finished.rows())), with_commas(std::ssize(rows)));
  }
  Progress progress;
  while (finished.rows().size() < rows.size()) {
    auto scores = StopSignals::requested() ? std::nullopt : scorer->score(next_rows(rows, finished.rows().size()));
    if (!scores) {
      throw Interrupted("score", fmt::format("stopped after {} of {} rows{}", finished.rows().size(), rows.size(),
                                             task.out.empty() ? ""
                                             : task.restart ? "; the same command without --restart goes on from there"
                                                            : "; the same command goes on from there"));
    }
    require_finite(*scores, task, rows, finished.rows().size());
    finished.add(std::move(*scores));
    show(progress, finished.rows().size(), rows.size());
  }
  scorer->report();
  log_skipped(rows, finished.rows());
  Scores scores;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const reward::RowScore& score = finished.rows()[i];
    scores.push_back(score.skipped.empty() ? as_optional(score.scores)
                                           : std::vector<std::optional<double>>(rows[i].responses.size()));
  }
  return scores;
}

Scores all_scores(const ScoreTask& task, const config::RunConfig& config, const std::vector<reward::Row>& rows,
                  std::optional<PartFile>& part) {
  switch (task.source) {
    case ScoreTask::Source::rule:
      return by_rules(task, rows);
    case ScoreTask::Source::merge:
      return by_merging(task, rows);
    case ScoreTask::Source::reward_model:
    case ScoreTask::Source::model:
      break;
  }
  return train::with_memory_advice(
      [&] { return by_model(task, config, rows, part); },
      [&] {
        const bool rewards = task.source == ScoreTask::Source::reward_model;
        return train::inference_advice(
            rewards ? checkpoint::load_reward_config(task.from) : checkpoint::load_config(config.model.path), config,
            train::choose_device(config.device).is_cpu());
      });
}

bool has_score(const std::vector<std::optional<double>>& scores) {
  return std::ranges::any_of(scores, [](const auto& score) { return score.has_value(); });
}

}  // namespace

reward::ScoreSummary score(const ScoreTask& task, const config::RunConfig& config) {
  require_free_place(task);
  const std::vector<reward::Row> rows = read_rows(task, config);
  std::optional<PartFile> part;
  const Scores scores = all_scores(task, config, rows, part);
  reward::ScoreSummary summary;
  for (std::size_t i = 0; i < rows.size(); ++i) summary.add(rows[i], scores[i]);
  if (summary.all.rows == 0) throw_input("score", "{}: no row has a score", task.data.string());
  if (!task.out.empty()) {
    require_free_place(task);  // another program may have written it meanwhile
    write_file_atomically(task.out, [&](std::ostream& out) {
      for (std::size_t i = 0; i < rows.size(); ++i) {
        if (has_score(scores[i])) out << reward::scored_line(rows[i], scores[i]) << '\n';
      }
    });
  }
  if (part) part->remove();
  return summary;
}

}  // namespace rrhf::workflow
