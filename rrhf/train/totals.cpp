#include "rrhf/train/totals.h"

#include <cmath>
#include <limits>

namespace rrhf::train {
namespace {

Json number_or_null(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Json evaluation_fields(const Totals& totals) {
  Json json = {{"queries", totals.queries}};
  json.update(loss_fields(totals));
  json["perplexity"] = number_or_null(totals.perplexity());
  return json;
}

constexpr double nothing = std::numeric_limits<double>::quiet_NaN();

}  // namespace

void Totals::add(const data::EncodedQuery& query, const objective::QueryLoss& loss,
                 std::span<const double> logprobs_K) {
  ++queries;
  tokens += query.packed_tokens();
  this->loss += loss.loss;
  rank_loss += loss.rank_loss;
  sft_loss += loss.sft_loss;
  ranking += loss.ranking;
  best_logprob += logprobs_K[loss.best];
  best_labels += std::ssize(query.responses[loss.best]);
}

Totals& Totals::operator+=(const Totals& other) {
  queries += other.queries;
  tokens += other.tokens;
  loss += other.loss;
  rank_loss += other.rank_loss;
  sft_loss += other.sft_loss;
  ranking += other.ranking;
  best_logprob += other.best_logprob;
  best_labels += other.best_labels;
  return *this;
}

double Totals::rank_accuracy() const {
  return ranking.pairs == 0 ? nothing : static_cast<double>(ranking.ordered) / static_cast<double>(ranking.pairs);
}

double Totals::margin() const {
  return ranking.pairs == 0 ? nothing : ranking.margin / static_cast<double>(ranking.pairs);
}

double Totals::perplexity() const {
  return best_labels == 0 ? nothing : std::exp(-best_logprob / static_cast<double>(best_labels));
}

Json loss_fields(const Totals& totals) {
  return {{"loss", number_or_null(totals.mean(totals.loss))},
          {"rank_loss", number_or_null(totals.mean(totals.rank_loss))},
          {"sft_loss", number_or_null(totals.mean(totals.sft_loss))},
          {"rank_accuracy", number_or_null(totals.rank_accuracy())},
          {"margin", number_or_null(totals.margin())}};
}

Json to_json(const Evaluation& evaluation) {
  Json json = evaluation_fields(evaluation.all);
  if (evaluation.groups.empty()) return json;
  Json& groups = json["groups"] = Json::object();
  for (const auto& [name, totals] : evaluation.groups) groups[name] = evaluation_fields(totals);
  return json;
}

}  // namespace rrhf::train
