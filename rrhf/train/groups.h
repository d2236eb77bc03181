// The groups of ranks that parallel.mode and parallel.shard_size make of a world.
#pragma once

#include <cstdint>

#include "rrhf/config/run_config.h"
#include "rrhf/distributed/world.h"

namespace rrhf::train {

/// `shards`: the ranks that hold one copy of the model among them, neighbours in rank. `copies`: the ranks that hold
/// the same part of other copies. Replicated: one shard, all copies. Sharded: the reverse, or groups of shard_size.
struct Groups {
  distributed::World shards;
  distributed::World copies;
};

/// Whether optimizer.place keeps gradients, masters and moments on the host: on a GPU alone. Throws InputError where
/// several ranks would.
bool state_on_host(const config::RunConfig& config, bool cpu, std::int64_t ranks);

/// How many of `ranks` hold one copy of the model among them. A shard_size beyond the number of ranks is that number.
/// Throws InputError when it does not divide the number of ranks, or is given without sharded mode.
std::int64_t ranks_of_a_copy(const config::ParallelConfig& config, std::int64_t ranks);

/// Every rank calls it; the same config serves any machine. Throws as ranks_of_a_copy() does.
Groups make_groups(const config::ParallelConfig& config, const distributed::World& world);

}  // namespace rrhf::train
