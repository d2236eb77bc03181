#include "rrhf/train/totals.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>
#include <type_traits>

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

Totals::Totals(const data::EncodedQuery& query, const objective::QueryLoss& loss, std::span<const double> logprobs_K)
    : queries(1),
      tokens(query.packed_tokens()),
      loss(loss.loss),
      rank_loss(loss.rank_loss),
      sft_loss(loss.sft_loss),
      ranking(loss.ranking),
      best_logprob(logprobs_K[loss.best]),
      best_labels(std::ssize(query.responses[loss.best])) {}

Totals sum_of(std::span<const Totals> by_query) {
  Totals sum;
  for (const Totals& query : by_query) sum += query;
  return sum;
}

void exchange(std::span<Totals> by_query, const distributed::World& world, at::Device device) {
  // Counts are far below 2^53, so that doubles carry all; an empty entry adds exact zeros.
  const auto visit_numbers = [](Totals& totals, double* row, auto&& visit) {
    visit(totals.queries, row[0]);
    visit(totals.tokens, row[1]);
    visit(totals.loss, row[2]);
    visit(totals.rank_loss, row[3]);
    visit(totals.sft_loss, row[4]);
    visit(totals.ranking.pairs, row[5]);
    visit(totals.ranking.ordered, row[6]);
    visit(totals.ranking.margin, row[7]);
    visit(totals.best_logprob, row[8]);
    visit(totals.best_labels, row[9]);
  };
  constexpr std::int64_t numbers = 10;
  at::Tensor rows = at::empty({std::ssize(by_query), numbers}, at::kDouble);
  double* row = rows.mutable_data_ptr<double>();
  for (Totals& totals : by_query) {
    visit_numbers(totals, row, [](auto number, double& place) { place = static_cast<double>(number); });
    row += numbers;
  }
  at::Tensor everywhere = rows.to(device);
  world.all_reduce(everywhere).wait();
  rows.copy_(everywhere);
  row = rows.mutable_data_ptr<double>();
  for (Totals& totals : by_query) {
    visit_numbers(totals, row, [](auto& number, double place) {
      number = static_cast<std::remove_reference_t<decltype(number)>>(place);
    });
    row += numbers;
  }
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
