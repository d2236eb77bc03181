#include "rrhf/train/groups.h"

#include <algorithm>

#include "rrhf/core/error.h"

namespace rrhf::train {

std::int64_t ranks_of_a_copy(const config::ParallelConfig& config, std::int64_t ranks) {
  if (config.shard_size && config.mode != ParallelMode::sharded) {
    throw_input("config", "parallel.shard_size {} needs parallel.mode sharded", *config.shard_size);
  }
  const std::int64_t whole = config.mode == ParallelMode::sharded ? ranks : 1;
  const std::int64_t size = std::min(config.shard_size.value_or(whole), ranks);
  if (ranks % size != 0) throw_input("config", "parallel.shard_size {} does not divide {} ranks", size, ranks);
  return size;
}

bool state_on_host(const config::RunConfig& config, bool cpu, std::int64_t ranks) {
  if (cpu || config.optimizer.place == Place::device) return false;
  if (ranks > 1) {
    throw_input("config", "optimizer.place host is for one process, not {}; parallel.mode sharded shares their state",
                ranks);
  }
  return true;
}

Groups make_groups(const config::ParallelConfig& config, const distributed::World& world) {
  const auto size = static_cast<int>(ranks_of_a_copy(config, world.size()));
  return {.shards = world.split(world.rank() / size), .copies = world.split(world.rank() % size)};
}

}  // namespace rrhf::train
