// How the processes of a run come together.
#pragma once

#include <c10/core/Device.h>

#include <chrono>

#include "rrhf/core/choices.h"
#include "rrhf/distributed/environment.h"
#include "rrhf/distributed/verdict.h"
#include "rrhf/distributed/world.h"

namespace rrhf::distributed {

struct WorldOptions {
  at::Device device = at::kCPU;  ///< of the tensors given to collectives
  BackendChoice backend = BackendChoice::automatic;
  std::chrono::seconds timeout{300};  ///< without a sign of life, or waited for in a collective
  Speaker speak = {};                 ///< none: the verdict is logged
};

/// Meets the other ranks and connects to them; a Meeting of one process gives a World of one at once. (Asked for NCCL
/// on a GPU by name, it gives a group of one, whose collectives go through NCCL.)
/// Throws InputError when the backend isn't there, AgreedError when ranks ask for different ones, have different kinds
/// of devices or timeouts, PeerError when the meeting point can't be used or not all ranks came in time. From then on
/// the process ends when another rank fails (world.h), and ignores SIGPIPE.
World join(const Meeting& meeting, const WorldOptions& options);

/// The keys of one start of the ranks in the meeting point's store. For the starter that holds it.
std::string store_prefix(int restarts);

}  // namespace rrhf::distributed
