#include "rrhf/train/pass.h"

#include <vector>

#include "rrhf/core/stop.h"
#include "rrhf/data/packing.h"
#include "rrhf/model/idle_responses.h"
#include "rrhf/model/pack.h"

namespace rrhf::train {
namespace {

using Queries = std::vector<const data::EncodedQuery*>;

std::vector<Queries> pack_queries(std::span<const data::EncodedQuery* const> queries, std::int64_t tokens_per_pack) {
  std::vector<std::int64_t> tokens;
  for (const data::EncodedQuery* query : queries) tokens.push_back(query->packed_tokens());
  std::vector<Queries> packs;
  for (const auto& items : data::pack_by_tokens(tokens, tokens_per_pack)) {
    Queries& pack = packs.emplace_back();
    for (const std::size_t item : items) pack.push_back(queries[item]);
  }
  return packs;
}

std::vector<model::PackInput> pack_inputs(std::span<const data::EncodedQuery* const> queries) {
  std::vector<model::PackInput> inputs;
  for (const data::EncodedQuery* query : queries) {
    inputs.push_back({query->prompt, {query->responses.begin(), query->responses.end()}});
  }
  return inputs;
}

std::vector<std::int64_t> label_counts(const data::EncodedQuery& query) {
  std::vector<std::int64_t> counts;
  for (const auto& response : query.responses) counts.push_back(std::ssize(response));
  return counts;
}

}  // namespace

bool Pass::evaluate(std::span<const data::EncodedQuery* const> queries, const QueryVisitor& visit) const {
  for (const Queries& members : pack_queries(queries, tokens_per_pack_)) {
    if (StopSignals::requested()) return false;
    const model::Pack pack = model::make_pack(pack_inputs(members), llama_->device());
    coefficients(members, llama_->forward(pack), queries.size(), visit);
  }
  return true;
}

Totals Pass::accumulate_gradients(std::span<const data::EncodedQuery* const> queries, model::Weights& gradients,
                                  StepWork& work) const {
  Totals totals;
  const auto visit = [&](const auto& query, const auto& loss, auto logprobs_K) { totals.add(query, loss, logprobs_K); };
  for (const Queries& members : pack_queries(queries, tokens_per_pack_)) {
    train_on_pack(members, queries.size(), gradients, visit, work);
  }
  return totals;
}

std::vector<double> Pass::coefficients(const Queries& members, std::span<const double> logprobs,
                                       std::size_t queries_in_step, const QueryVisitor& visit) const {
  std::vector<double> result;
  std::size_t first = 0;
  for (const data::EncodedQuery* query : members) {
    const auto own = logprobs.subspan(first, query->responses.size());
    const std::vector<std::int64_t> counts = label_counts(*query);
    const objective::QueryLoss loss = objective_->evaluate({.logprobs_K = own,
                                                            .label_counts_K = counts,
                                                            .rewards_K = query->rewards,
                                                            .padded_length = query->padded_length});
    for (const double coefficient : loss.coefficients_K) {
      result.push_back(coefficient / static_cast<double>(queries_in_step));
    }
    visit(*query, loss, own);
    first += query->responses.size();
  }
  return result;
}

void Pass::train_on_pack(const Queries& members, std::size_t queries_in_step, model::Weights& gradients,
                         const QueryVisitor& visit, StepWork& work) const {
  const std::vector<model::PackInput> inputs = pack_inputs(members);
  const model::Pack pack = model::make_pack(inputs, llama_->device());
  work.times.end_of(Part::data);
  model::Activations saved;
  const std::vector<double> logprobs = llama_->forward(pack, &saved, &work.times);
  const std::vector<double> pulls = coefficients(members, logprobs, queries_in_step, visit);
  const model::ActivePart active = model::drop_idle_responses(inputs, pack, pulls, saved);
  work.times.end_of(Part::objective);
  if (!active.empty()) llama_->backward(active.pack, active.coefficients, saved, gradients, &work.times);
  const model::Flops forward = model::forward_flops(pack, llama_->config());
  work.flops += forward * 3;
  work.flops_done += forward;
  work.flops_done += model::forward_flops(active.pack, llama_->config()) * 2;
}

}  // namespace rrhf::train
