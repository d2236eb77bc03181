// What a World of more than one process owns. Seen only inside rrhf/distributed.
#pragma once

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include "rrhf/distributed/backend.h"
#include "rrhf/distributed/watch.h"
#include "rrhf/distributed/world.h"

namespace rrhf::distributed {

struct Group {
  Place place;
  c10::intrusive_ptr<c10d::Store> store;
  BackendOptions options;
  std::shared_ptr<Watch> watch;  ///< one for the process: subgroups share it
  c10::intrusive_ptr<c10d::Backend> backend;
  int splits = 0;
};

}  // namespace rrhf::distributed
