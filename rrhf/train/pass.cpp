#include "rrhf/train/pass.h"

#include <algorithm>
#include <numeric>

#include "rrhf/core/stop.h"
#include "rrhf/model/idle_responses.h"

namespace rrhf::train {
namespace {

std::vector<std::int64_t> label_counts(const data::EncodedQuery& query) {
  std::vector<std::int64_t> counts;
  for (const auto& response : query.responses) counts.push_back(std::ssize(response));
  return counts;
}

// Log-probs by response. Equal responses lie at different places of a pack and differ in their last digits there: each
// has that of the first of them, so that neither ever stands above the other.
std::vector<double> alike_where_equal(const data::EncodedQuery& query, std::span<const double> logprobs_K) {
  std::vector<double> result(logprobs_K.begin(), logprobs_K.end());
  for (std::size_t i = 1; i < result.size(); ++i) {
    const auto first = std::find(query.responses.begin(), query.responses.begin() + static_cast<std::ptrdiff_t>(i),
                                 query.responses[i]);
    result[i] = result[static_cast<std::size_t>(first - query.responses.begin())];
  }
  return result;
}

}  // namespace

PassOptions pass_options(const config::RunConfig& config, bool cpu) {
  return {.tokens_per_pack = config.train.tokens_per_pack.value_or(automatic_tokens_per_pack(cpu)),
          .recompute = config.train.recompute,
          .layer_inputs = config.train.layer_inputs,
          .deterministic = config.train.deterministic};
}

Pass::Pass(const model::Llama& llama, const objective::Objective& objective, const distributed::World& world,
           PassOptions options)
    : llama_(&llama), objective_(&objective), world_(&world), options_(options) {
  if (options.layer_inputs == Place::host && !llama.device().is_cpu())
    parked_ = std::make_unique<model::ParkedInputs>(llama.device());
  if (llama.device().is_cpu()) arena_ = std::make_unique<model::Arena>();
}

PassPlace Pass::place() const {
  return {.rank = static_cast<std::size_t>(world_->rank()),
          .ranks = static_cast<std::size_t>(world_->size()),
          .tokens_per_pack = options_.tokens_per_pack,
          .device = llama_->device(),
          .label_row_cost = model::label_row_cost(llama_->config())};
}

std::optional<std::vector<Totals>> Pass::evaluate(const EncodedSet& set, const QueryVisitor& visit,
                                                  const std::function<void(double)>& progress) const {
  std::vector<std::int64_t> all(static_cast<std::size_t>(set.size()));
  std::iota(all.begin(), all.end(), 0);
  if (arena_) arena_->release();  // an evaluation keeps nothing, and has a peak of its own
  StepPasses passes(set, std::move(all), place(), IdlePasses::last);
  const std::size_t count = passes.layout().passes;
  std::vector<Totals> by_query(passes.layout().queries.size());
  Ahead<PreparedPass> ahead([&] { return passes.next(); }, passes_ready);
  for (std::size_t i = 0; i < count; ++i) {
    progress(static_cast<double>(i) / static_cast<double>(count));
    if (world_->any(StopSignals::requested())) return std::nullopt;
    const PreparedPass pass = ahead.next().value();
    if (pass.pack) {
      coefficients(*pass.pack, llama_->forward(pass.pack->pack), by_query, visit);
    } else {
      llama_->idle_forward();
    }
  }
  exchange(by_query, *world_, llama_->device());
  return by_query;
}

std::vector<Totals> Pass::accumulate_gradients(const Source& source, model::Gradients& gradients,
                                               StepWork& work) const {
  std::vector<Totals> by_query;
  for (std::size_t i = 0, passes = 1; i < passes; ++i) {
    const PreparedPass pass = source();
    passes = pass.step->passes;
    by_query.resize(pass.step->queries.size());
    work.times.end_of(Part::data);
    if (i + 1 == passes) gradients.begin_last_pass();
    if (pass.pack) {
      train_on_pack(*pass.pack, by_query, gradients, work);
    } else {
      llama_->idle_forward(&work.times);
      llama_->idle_backward(gradients, &work.times);
    }
  }
  gradients.finish();
  exchange(by_query, *world_, llama_->device());
  work.times.end_of(Part::communication);
  return by_query;
}

std::vector<double> Pass::coefficients(const PreparedPack& pack, std::span<const double> logprobs,
                                       std::span<Totals> by_query, const QueryVisitor& visit) const {
  std::vector<double> result;
  std::size_t first = 0;
  for (std::size_t i = 0; i < pack.queries.size(); ++i) {
    const data::EncodedQuery& query = pack.queries[i];
    const std::vector<double> own = alike_where_equal(query, logprobs.subspan(first, query.responses.size()));
    const std::vector<std::int64_t> counts = label_counts(query);
    const objective::QueryLoss loss = objective_->evaluate({.logprobs_K = own,
                                                            .label_counts_K = counts,
                                                            .rewards_K = query.rewards,
                                                            .padded_length = query.padded_length});
    for (const double coefficient : loss.coefficients_K) {
      result.push_back(coefficient / static_cast<double>(by_query.size()));
    }
    by_query[pack.places[i]] = Totals(query, loss, own);
    if (visit) visit(query, loss, own);
    first += query.responses.size();
  }
  return result;
}

void Pass::train_on_pack(const PreparedPack& prepared, std::span<Totals> by_query, model::Gradients& gradients,
                         StepWork& work) const {
  const model::Pack& pack = prepared.pack;
  model::Activations saved{.recompute = options_.recompute,
                           .deterministic = options_.deterministic,
                           .parked = parked_.get(),
                           .arena = arena_.get()};
  const std::vector<double> logprobs = llama_->forward(pack, &saved, &work.times);
  const std::vector<double> pulls = coefficients(prepared, logprobs, by_query, {});
  const model::ActivePart active = model::drop_idle_responses(prepared.inputs, pack, pulls, saved);
  work.times.end_of(Part::objective);
  if (active.empty()) {
    llama_->idle_backward(gradients, &work.times);
  } else {
    llama_->backward(active.pack, active.coefficients, saved, gradients, &work.times);
  }
  work.forward_flops += model::forward_flops(pack, llama_->config(), llama_->lora());
  work.backward_flops += model::backward_flops(pack, llama_->config(), llama_->lora());
  work.backward_flops_done += model::backward_flops(active.pack, llama_->config(), llama_->lora());
  for (const data::EncodedQuery& query : prepared.queries) work.tokens += query.packed_tokens();
}

}  // namespace rrhf::train
