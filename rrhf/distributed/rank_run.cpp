#include "rrhf/distributed/rank_run.h"

#include "rrhf/core/log.h"
#include "rrhf/distributed/rank_output.h"

namespace rrhf::distributed {

void run_as_rank(const Meeting& meeting, const std::filesystem::path& output, WorldOptions options,
                 const std::function<void(const World&)>& body) {
  const RankOutput lines(meeting, output);
  options.speak = [&](const Verdict& verdict, bool stands_in) { lines.speak(verdict, stands_in); };
  const World world = join(meeting, options);
  try {
    body(world);
  } catch (const Interrupted& stop) {
    if (!meeting.supervised) throw;
    log_line(stop.what());
    throw SaidAlready(left_when_asked);
  } catch (const AgreedError&) {
    throw;
  } catch (const std::exception& failure) {
    world.failed(failure);
    throw;
  }
}

}  // namespace rrhf::distributed
