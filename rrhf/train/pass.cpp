#include "rrhf/train/pass.h"

#include <algorithm>

#include "rrhf/core/stop.h"
#include "rrhf/data/packing.h"
#include "rrhf/data/work_split.h"
#include "rrhf/model/idle_responses.h"
#include "rrhf/model/pack.h"

namespace rrhf::train {
namespace {

std::vector<model::PackInput> pack_inputs(std::span<const data::EncodedQuery* const> queries,
                                          std::span<const std::size_t> members) {
  std::vector<model::PackInput> inputs;
  for (const std::size_t member : members) {
    const data::EncodedQuery& query = *queries[member];
    inputs.push_back({query.prompt, {query.responses.begin(), query.responses.end()}});
  }
  return inputs;
}

std::vector<std::int64_t> label_counts(const data::EncodedQuery& query) {
  std::vector<std::int64_t> counts;
  for (const auto& response : query.responses) counts.push_back(std::ssize(response));
  return counts;
}

}  // namespace

PassOptions pass_options(const config::RunConfig& config) {
  return {.tokens_per_pack = config.train.tokens_per_pack.value_or(automatic_tokens_per_pack),
          .recompute = config.train.recompute};
}

Pass::Step Pass::plan(std::span<const data::EncodedQuery* const> queries) const {
  Step step{.queries = queries, .packs = {}, .passes = 0, .by_query = std::vector<Totals>(queries.size())};
  std::vector<std::int64_t> tokens;
  for (const data::EncodedQuery* query : queries) tokens.push_back(query->packed_tokens());
  const auto shares = data::split_by_cost(tokens, static_cast<std::size_t>(world_->size()));
  for (std::size_t rank = 0; rank < shares.size(); ++rank) {
    std::vector<std::int64_t> own;
    for (const std::size_t position : shares[rank]) own.push_back(tokens[position]);
    auto packs = data::pack_by_tokens(own, options_.tokens_per_pack);
    for (Positions& pack : packs) {
      for (std::size_t& item : pack) item = shares[rank][item];
    }
    // The largest first, which lets the heap settle, and the smallest not last: the sums over ranks, taken during the
    // last pass, need its length to hide behind.
    if (packs.size() > 2) std::rotate(packs.begin() + 1, packs.end() - 1, packs.end());
    step.passes = std::max(step.passes, packs.size());
    if (rank == static_cast<std::size_t>(world_->rank())) step.packs = std::move(packs);
  }
  return step;
}

std::optional<std::vector<Totals>> Pass::evaluate(std::span<const data::EncodedQuery* const> queries,
                                                  const QueryVisitor& visit,
                                                  const std::function<void(double)>& progress) const {
  Step step = plan(queries);
  for (std::size_t i = 0; i < step.passes; ++i) {
    progress(static_cast<double>(i) / static_cast<double>(step.passes));
    if (world_->any(StopSignals::requested())) return std::nullopt;
    if (i >= step.packs.size()) {
      llama_->idle_forward();
      continue;
    }
    const model::Pack pack = model::make_pack(pack_inputs(queries, step.packs[i]), llama_->device());
    coefficients(step, step.packs[i], llama_->forward(pack), visit);
  }
  exchange(step.by_query, *world_, llama_->device());
  return std::move(step.by_query);
}

std::vector<Totals> Pass::accumulate_gradients(std::span<const data::EncodedQuery* const> queries,
                                               model::Gradients& gradients, StepWork& work) const {
  Step step = plan(queries);
  // A rank with fewer packs waits first, so that all compute while the last sums are taken.
  const std::size_t idle = step.passes - step.packs.size();
  for (std::size_t i = 0; i < step.passes; ++i) {
    if (i + 1 == step.passes) gradients.begin_last_pass();
    if (i < idle) {
      llama_->idle_forward(&work.times);
      llama_->idle_backward(gradients, &work.times);
    } else {
      train_on_pack(step, step.packs[i - idle], gradients, work);
    }
  }
  gradients.finish();
  exchange(step.by_query, *world_, llama_->device());
  work.times.end_of(Part::communication);
  return std::move(step.by_query);
}

std::vector<double> Pass::coefficients(Step& step, const Positions& members, std::span<const double> logprobs,
                                       const QueryVisitor& visit) const {
  std::vector<double> result;
  std::size_t first = 0;
  for (const std::size_t position : members) {
    const data::EncodedQuery& query = *step.queries[position];
    const auto own = logprobs.subspan(first, query.responses.size());
    const std::vector<std::int64_t> counts = label_counts(query);
    const objective::QueryLoss loss = objective_->evaluate({.logprobs_K = own,
                                                            .label_counts_K = counts,
                                                            .rewards_K = query.rewards,
                                                            .padded_length = query.padded_length});
    for (const double coefficient : loss.coefficients_K) {
      result.push_back(coefficient / static_cast<double>(step.queries.size()));
    }
    step.by_query[position] = Totals(query, loss, own);
    if (visit) visit(query, loss, own);
    first += query.responses.size();
  }
  return result;
}

void Pass::train_on_pack(Step& step, const Positions& members, model::Gradients& gradients, StepWork& work) const {
  const std::vector<model::PackInput> inputs = pack_inputs(step.queries, members);
  const model::Pack pack = model::make_pack(inputs, llama_->device());
  work.times.end_of(Part::data);
  model::Activations saved{.recompute = options_.recompute == Recompute::layer};
  const std::vector<double> logprobs = llama_->forward(pack, &saved, &work.times);
  const std::vector<double> pulls = coefficients(step, members, logprobs, {});
  const model::ActivePart active = model::drop_idle_responses(inputs, pack, pulls, saved);
  work.times.end_of(Part::objective);
  if (active.empty()) {
    llama_->idle_backward(gradients, &work.times);
  } else {
    llama_->backward(active.pack, active.coefficients, saved, gradients, &work.times);
  }
  const model::Flops forward = model::forward_flops(pack, llama_->config());
  work.flops += forward * 3;
  work.flops_done += forward;
  work.flops_done += model::forward_flops(active.pack, llama_->config()) * 2;
  for (const std::size_t member : members) work.tokens += step.queries[member]->packed_tokens();
}

}  // namespace rrhf::train
