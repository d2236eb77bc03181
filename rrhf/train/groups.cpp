#include "rrhf/train/groups.h"

#include "rrhf/core/error.h"

namespace rrhf::train {

Groups make_groups(const config::ParallelConfig& config, const distributed::World& world) {
  if (config.shard_size && config.mode != ParallelMode::sharded) {
    throw_input("config", "parallel.shard_size {} needs parallel.mode sharded", *config.shard_size);
  }
  const std::int64_t whole = config.mode == ParallelMode::sharded ? world.size() : 1;
  const auto size = static_cast<int>(std::min<std::int64_t>(config.shard_size.value_or(whole), world.size()));
  if (world.size() % size != 0) {
    throw_input("config", "parallel.shard_size {} does not divide {} ranks", size, world.size());
  }
  return {.shards = world.split(world.rank() / size), .copies = world.split(world.rank() % size)};
}

}  // namespace rrhf::train
