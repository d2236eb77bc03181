#include "rrhf/train/pass.h"

#include <vector>

#include "rrhf/core/stop.h"
#include "rrhf/data/packing.h"
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

model::Pack lay_out(std::span<const data::EncodedQuery* const> queries, at::Device device) {
  std::vector<model::PackInput> inputs;
  for (const data::EncodedQuery* query : queries) {
    inputs.push_back({query->prompt, {query->responses.begin(), query->responses.end()}});
  }
  return model::make_pack(inputs, device);
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
    run_pack(members, queries.size(), nullptr, visit);
  }
  return true;
}

Totals Pass::accumulate_gradients(std::span<const data::EncodedQuery* const> queries, model::Weights& gradients) const {
  Totals totals;
  for (const Queries& members : pack_queries(queries, tokens_per_pack_)) {
    run_pack(members, queries.size(), &gradients,
             [&](const auto& query, const auto& loss, auto logprobs_K) { totals.add(query, loss, logprobs_K); });
  }
  return totals;
}

void Pass::run_pack(std::span<const data::EncodedQuery* const> members, std::size_t queries_in_step,
                    model::Weights* gradients, const QueryVisitor& visit) const {
  const model::Pack pack = lay_out(members, llama_->device());
  model::Activations saved;
  const std::vector<double> logprobs = llama_->forward(pack, gradients == nullptr ? nullptr : &saved);
  std::vector<double> coefficients;
  std::size_t first = 0;
  for (const data::EncodedQuery* query : members) {
    const auto own = std::span(logprobs).subspan(first, query->responses.size());
    const std::vector<std::int64_t> counts = label_counts(*query);
    const objective::QueryLoss loss = objective_->evaluate({.logprobs_K = own,
                                                            .label_counts_K = counts,
                                                            .rewards_K = query->rewards,
                                                            .padded_length = query->padded_length});
    for (const double coefficient : loss.coefficients_K) {
      coefficients.push_back(coefficient / static_cast<double>(queries_in_step));
    }
    visit(*query, loss, own);
    first += query->responses.size();
  }
  if (gradients != nullptr) llama_->backward(pack, coefficients, saved, *gradients);
}

}  // namespace rrhf::train
