#include "tests/emulated/timeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <utility>

namespace rrhf::emulated {
namespace {

std::string name_of(Agent agent) { return agent == host_agent ? "the host" : fmt::format("stream {}", agent); }

}  // namespace

Agent Timeline::add_stream() {
  for (Time& time : known_) time.push_back(0);
  known_.emplace_back(known_.front().size(), 0);
  return known_.size() - 1;
}

void Timeline::wait(Agent agent, const Time& time) {
  Time& own = known_[agent];
  for (std::size_t i = 0; i < time.size(); ++i) own[i] = std::max(own[i], time[i]);
}

bool Timeline::passed(const Time& time) const {
  return std::equal(time.begin(), time.end(), known_[host_agent].begin(), std::less_equal<>());
}

void Timeline::check(Agent agent, std::string_view operation, const History::Touch& before) {
  if (known_[agent][before.agent] >= before.number) return;
  std::string race = fmt::format("{} of {} is not ordered after {} of {}", operation, name_of(agent), before.operation,
                                 name_of(before.agent));
  if (races_.empty() || races_.back() != race) races_.push_back(std::move(race));
}

void Timeline::operate(Agent agent, std::string_view operation, const std::vector<History*>& read,
                       const std::vector<History*>& written) {
  if (agent != host_agent) wait(agent, known_[host_agent]);
  const std::uint64_t number = ++known_[agent][agent];
  for (History* history : read) {
    if (history->write) check(agent, operation, *history->write);
    std::erase_if(history->reads, [&](const History::Touch& touch) { return touch.agent == agent; });
    history->reads.push_back({agent, number, std::string(operation)});
  }
  for (History* history : written) {
    if (history->write) check(agent, operation, *history->write);
    for (const History::Touch& touch : history->reads) check(agent, operation, touch);
    history->reads.clear();
    history->write = {agent, number, std::string(operation)};
  }
}

std::vector<std::string> Timeline::take_races() { return std::exchange(races_, {}); }

}  // namespace rrhf::emulated
