// Which operations of the host and of streams are ordered among one another, and which touch memory while they are not.
//
// By vector clocks (Fidge 1988, Mattern 1989): every agent counts its operations and knows, of each other agent, how
// many are over. Two operations on the same memory, one of them writing, must not be unordered. With one thread as the
// host, what is found does not depend on how fast anything runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace rrhf::emulated {

/// The host is agent 0, streams are those after it.
using Agent = std::size_t;
inline constexpr Agent host_agent = 0;

/// Of each agent, how many of its operations are over.
using Time = std::vector<std::uint64_t>;

/// Who touched a piece of memory last.
struct History {
  struct Touch {
    Agent agent;
    std::uint64_t number;
    std::string operation;
  };
  std::optional<Touch> write;
  std::vector<Touch> reads;  // since then, the last of each agent
};

class Timeline {
 public:
  Agent add_stream();

  /// Everything the agent has been given to do so far.
  Time now(Agent agent) const { return known_[agent]; }
  /// What the agent does from now on comes after that.
  void wait(Agent agent, const Time& time);
  /// Whether the host knows that it is over.
  bool passed(const Time& time) const;

  /// The agent's next operation. A stream's comes after all the host did before it asked for it.
  void operate(Agent agent, std::string_view operation, const std::vector<History*>& read,
               const std::vector<History*>& written);

  /// Pairs that were not ordered, a line each, since the last call.
  std::vector<std::string> take_races();

 private:
  void check(Agent agent, std::string_view operation, const History::Touch& before);

  std::vector<Time> known_ = {{0}};
  std::vector<std::string> races_;
};

}  // namespace rrhf::emulated
