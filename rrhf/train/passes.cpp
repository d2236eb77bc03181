#include "rrhf/train/passes.h"

#include <algorithm>
#include <cmath>

#include "rrhf/core/error.h"
#include "rrhf/data/packing.h"
#include "rrhf/data/work_split.h"

namespace rrhf::train {
namespace {

// In thousandths of a token of the layers: the ranks' shares of a step are to take equal time, not to be equally long.
std::int64_t cost_of(const data::QuerySize& size, double label_row_cost) {
  const auto label_rows = static_cast<double>(1 + size.labels - size.responses);
  return std::llround(1000 * (static_cast<double>(size.packed()) + label_row_cost * label_rows));
}

StepLayout layout_of(const EncodedSet& set, std::vector<std::int64_t> queries, const PassPlace& place) {
  StepLayout layout{.queries = std::move(queries), .packs = {}, .passes = 0};
  std::vector<std::int64_t> tokens, costs;
  for (const std::int64_t query : layout.queries) {
    const data::QuerySize size = set.size_of(query);
    tokens.push_back(size.packed());
    costs.push_back(cost_of(size, place.label_row_cost));
  }
  const auto shares = data::split_by_cost(costs, place.ranks);
  for (std::size_t rank = 0; rank < shares.size(); ++rank) {
    std::vector<std::int64_t> own;
    for (const std::size_t query : shares[rank]) own.push_back(tokens[query]);
    auto packs = data::pack_by_tokens(own, place.tokens_per_pack);
    for (auto& pack : packs) {
      for (std::size_t& item : pack) item = shares[rank][item];
    }
    // The largest first, which lets the heap settle, and the smallest not last: the sums over ranks, taken during the
    // last pass, need its length to hide behind.
    if (packs.size() > 2) std::rotate(packs.begin() + 1, packs.end() - 1, packs.end());
    layout.passes = std::max(layout.passes, packs.size());
    if (rank == place.rank) layout.packs = std::move(packs);
  }
  return layout;
}

PreparedPack prepare(const EncodedSet& set, const StepLayout& layout, const std::vector<std::size_t>& places,
                     c10::Device device) {
  PreparedPack prepared;
  prepared.places = places;
  prepared.queries.reserve(places.size());
  for (const std::size_t place : places) prepared.queries.push_back(set.query(layout.queries[place]));
  for (const data::EncodedQuery& query : prepared.queries) {
    prepared.inputs.push_back({query.prompt, {query.responses.begin(), query.responses.end()}});
  }
  prepared.pack = model::make_pack(prepared.inputs, device);
  return prepared;
}

}  // namespace

StepPasses::StepPasses(const EncodedSet& set, std::vector<std::int64_t> queries, const PassPlace& place,
                       IdlePasses idle)
    : set_(&set),
      layout_(std::make_shared<const StepLayout>(layout_of(set, std::move(queries), place))),
      device_(place.device),
      first_busy_(idle == IdlePasses::first ? layout_->passes - layout_->packs.size() : 0) {}

std::optional<PreparedPass> StepPasses::next() {
  if (made_ == layout_->passes) return std::nullopt;
  const std::size_t number = made_++;
  PreparedPass pass{.step = layout_, .pack = {}};
  if (number >= first_busy_ && number - first_busy_ < layout_->packs.size()) {
    pass.pack = prepare(*set_, *layout_, layout_->packs[number - first_busy_], device_);
  }
  return pass;
}

PassesAhead::PassesAhead(const EncodedSet& set, data::StepPlan& plan, std::int64_t first, const PassPlace& place)
    : set_(&set),
      plan_(&plan),
      step_(first),
      place_(place),
      ahead_(
          [this]() -> std::optional<PreparedPass> {
            for (;;) {
              if (auto pass = passes_ ? passes_->next() : std::nullopt) return pass;
              if (step_ == plan_->steps()) return std::nullopt;
              passes_.emplace(*set_, plan_->queries(step_++), place_, IdlePasses::first);
            }
          },
          passes_ready) {}

PreparedPass PassesAhead::next() {
  auto pass = ahead_.next();
  if (!pass) throw_error("train", "there is no step after the last");
  return std::move(*pass);
}

}  // namespace rrhf::train
