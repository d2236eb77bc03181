#include "rrhf/reward/summary.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace rrhf::reward {
namespace {

constexpr double nothing = std::numeric_limits<double>::quiet_NaN();

double share(double part, std::int64_t whole) { return whole == 0 ? nothing : part / static_cast<double>(whole); }

Json to_json(const ScoreTotals& totals) {
  const auto number = [](double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); };
  return {{"rows", totals.rows},
          {"responses", totals.responses},
          {"mean", number(totals.mean())},
          {"deviation", number(totals.deviation())},
          {"min", number(totals.least)},
          {"max", number(totals.most)},
          {"mean_best", number(totals.mean_best())},
          {"tied_pairs", totals.ties},
          {"pairs", totals.pairs},
          {"pair_accuracy", number(totals.agreement())}};
}

}  // namespace

void ScoreTotals::add(const Row& row, const std::vector<std::optional<double>>& scores) {
  std::optional<double> best;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (!scores[i]) continue;
    const double score = *scores[i];
    least = responses == 0 ? score : std::min(least, score);
    most = responses == 0 ? score : std::max(most, score);
    best = best ? std::max(*best, score) : score;
    ++responses;
    sum += score;
    const double off = score - center;
    center += off / static_cast<double>(responses);
    spread += off * (score - center);
    for (std::size_t j = i + 1; j < scores.size(); ++j) {
      if (!scores[j]) continue;
      ties += score == *scores[j];
      if (!row.before[i] || !row.before[j] || *row.before[i] == *row.before[j]) continue;
      ++pairs;
      agreeing += *row.before[i] < *row.before[j] ? score < *scores[j] : score > *scores[j];
    }
  }
  if (!best) return;
  ++rows;
  best_sum += *best;
}

double ScoreTotals::mean() const { return share(sum, responses); }

double ScoreTotals::deviation() const { return std::sqrt(share(spread, responses)); }

double ScoreTotals::mean_best() const { return share(best_sum, rows); }

double ScoreTotals::agreement() const { return share(static_cast<double>(agreeing), pairs); }

void ScoreSummary::add(const Row& row, const std::vector<std::optional<double>>& scores) {
  all.add(row, scores);
  if (!row.group.empty()) groups[row.group].add(row, scores);
}

Json to_json(const ScoreSummary& summary) {
  Json json = to_json(summary.all);
  if (!summary.groups.empty()) {
    for (const auto& [name, totals] : summary.groups) json["groups"][name] = to_json(totals);
  }
  return json;
}

}  // namespace rrhf::reward
