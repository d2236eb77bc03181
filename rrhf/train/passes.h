// A step's queries laid out for the model, pack by pack, before the model needs them.
#pragma once

#include <c10/core/Device.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "rrhf/core/ahead.h"
#include "rrhf/data/encode.h"
#include "rrhf/data/step_plan.h"
#include "rrhf/model/pack.h"
#include "rrhf/train/encoded_set.h"

namespace rrhf::train {

/// How the queries of a step, or of an evaluation, are spread over packs and ranks: the same on every rank but `packs`.
struct StepLayout {
  std::vector<std::int64_t> queries;            ///< positions in the set, in the step's order
  std::vector<std::vector<std::size_t>> packs;  ///< of this rank: places in `queries`
  std::size_t passes = 0;                       ///< packs of the rank with the most
};

/// Some queries of a step, copied out of the set and laid out. Moved, not copied: `inputs` refer to `queries`.
struct PreparedPack {
  PreparedPack() = default;
  PreparedPack(PreparedPack&&) noexcept = default;
  PreparedPack& operator=(PreparedPack&&) noexcept = default;

  std::vector<std::size_t> places;  ///< of the queries in the step
  std::vector<data::EncodedQuery> queries;
  std::vector<model::PackInput> inputs;  ///< what `pack` is made of
  model::Pack pack;                      ///< on the model's device
};

/// What one rank does while each of the others does as much: a pack, or none where another rank has one more.
struct PreparedPass {
  std::shared_ptr<const StepLayout> step;
  std::optional<PreparedPack> pack;
};

/// Which rank of how many, and what it computes with.
struct PassPlace {
  std::size_t rank = 0;
  std::size_t ranks = 1;
  std::int64_t tokens_per_pack = 0;
  c10::Device device = c10::kCPU;
  double label_row_cost = 0;  ///< what the head takes for a label row, in what the layers take for a token
};

/// When a rank with fewer packs than another has nothing to compute: in a step first, so that all compute while the
/// last sums are taken.
enum class IdlePasses { first, last };

/// The passes of one step, made one by one as they are asked for. Keeps a reference to the set. One thread.
class StepPasses {
 public:
  StepPasses(const EncodedSet& set, std::vector<std::int64_t> queries, const PassPlace& place, IdlePasses idle);

  const StepLayout& layout() const noexcept { return *layout_; }

  /// The next one; nothing after the last.
  std::optional<PreparedPass> next();

 private:
  const EncodedSet* set_;
  std::shared_ptr<const StepLayout> layout_;
  c10::Device device_;
  std::size_t first_busy_;  // the number of the first pass with a pack
  std::size_t made_ = 0;
};

/// The passes of steps `first`, `first` + 1, ... of a plan, made ahead on a thread of their own, which looks into set
/// and plan while it lives: of these two others may only call what is const, and of the plan not queries().
class PassesAhead {
 public:
  PassesAhead(const EncodedSet& set, data::StepPlan& plan, std::int64_t first, const PassPlace& place);

  /// The next pass: one after the other of a step, then those of the next. Throws what making it threw; Error after the
  /// plan's last.
  PreparedPass next();

  /// What the thread has worked so far.
  double seconds() const { return ahead_.seconds(); }

 private:
  const EncodedSet* set_;
  data::StepPlan* plan_;
  std::int64_t step_;
  PassPlace place_;
  std::optional<StepPasses> passes_;  // of the step before step_
  Ahead<PreparedPass> ahead_;         // last: its thread uses all of the above
};

/// So many passes are ready at most: what is made while one is computed is more than enough.
inline constexpr std::size_t passes_ready = 4;

}  // namespace rrhf::train
