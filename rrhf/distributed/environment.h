// Who this process is among its peers and where they meet, from the variables that starters set: torchrun (and
// `rrhf train --processes`, and anybody who sets RANK by hand), Open MPI's mpirun, Slurm's srun; none: one process.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "rrhf/distributed/world.h"

namespace rrhf::distributed {

/// Where ranks find each other: a TCP store at `address`:`port`.
struct Meeting {
  Place place;
  std::string address;
  std::uint16_t port = 0;
  bool hosted_by_starter = false;  ///< the starter holds the store; otherwise rank 0 does
  int restarts = 0;                ///< how often the starter has started all ranks again
  bool supervised = false;         ///< started by `--processes`: it prints what ended the run
  std::string starter;             ///< for messages: "torchrun", "Slurm", "Open MPI", "" alone
};

/// A variable's value, or nothing when it is not set.
using Variables = std::function<std::optional<std::string>(const std::string& name)>;

/// Reads torchrun's variables if RANK or WORLD_SIZE is set, else Open MPI's, else Slurm's. A shell or a batch script
/// inside a Slurm allocation is one process, whatever the allocation holds: only srun starts ranks.
/// Throws InputError that names the variables when some are missing, are no numbers, or contradict one another.
Meeting read_environment(const Variables& variables, std::string host);

/// The same from the process's own environment and host name.
Meeting read_environment();

/// The first host of a Slurm list: "gpu[07-09,12],cpu1" gives "gpu07". Throws InputError when there is none.
std::string first_host(const std::string& list);

}  // namespace rrhf::distributed
