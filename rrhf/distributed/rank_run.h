// One rank's part of a run, whatever started it.
#pragma once

#include <filesystem>
#include <functional>

#include "rrhf/distributed/meeting.h"

namespace rrhf::distributed {

/// Meets the other ranks, runs `body`, and leaves; one process alone just runs it. `output` is the run's folder, for
/// logs/rank-N.log. What `body` throws alone (not an Interrupted or AgreedError, which all ranks throw alike) ends all
/// ranks, with its message and exit code. `options.speak` is set here.
/// Throws what join() and `body` throw.
void run_as_rank(const Meeting& meeting, const std::filesystem::path& output, WorldOptions options,
                 const std::function<void(const World&)>& body);

}  // namespace rrhf::distributed
