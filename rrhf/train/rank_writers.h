// The ranks of a world as those who write one folder together.
#pragma once

#include "rrhf/checkpoint/joint_folder.h"
#include "rrhf/distributed/world.h"

namespace rrhf::train {

/// Keeps a reference.
class RankWriters : public checkpoint::Writers {
 public:
  explicit RankWriters(const distributed::World& world) : world_(&world) {}
  std::size_t rank() const override { return static_cast<std::size_t>(world_->rank()); }
  std::size_t size() const override { return static_cast<std::size_t>(world_->size()); }
  std::vector<std::string> meet(const std::string& word) const override { return world_->gather_words(word); }

 private:
  const distributed::World* world_;
};

}  // namespace rrhf::train
