#include "rrhf/distributed/environment.h"

#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <climits>
#include <cstdlib>
#include <vector>

#include "rrhf/core/error.h"

namespace rrhf::distributed {
namespace {

// Below the ports that Linux gives to outgoing connections (32768 and up).
constexpr int first_derived_port = 20000, derived_ports = 12000;

int parse_number(const std::string& name, const std::string& text, int least, int most) {
  int value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc{} || end != text.data() + text.size() || value < least || value > most) {
    throw_input("distributed", "{} is {}; it must be a whole number {}", name, text.empty() ? "empty" : text,
                most == INT_MAX ? fmt::format("of at least {}", least) : fmt::format("from {} to {}", least, most));
  }
  return value;
}

// The variables of one starter, read so that a missing or wrong one is named.
class Reader {
 public:
  Reader(const Variables& variables, std::string starter) : variables_(variables), starter_(std::move(starter)) {}

  bool has(const std::string& name) const { return variables_(name).has_value(); }

  std::string text(const std::string& name) const {
    const auto value = variables_(name);
    if (!value || value->empty()) {
      throw_input("distributed", "{} is not set, but other variables of {} are; all ranks need it", name, starter_);
    }
    return *value;
  }

  int number(const std::string& name, int least, int most = INT_MAX) const {
    return parse_number(name, text(name), least, most);
  }

  // Both or neither.
  void pair(const std::string& one, const std::string& other) const {
    if (has(one) != has(other)) {
      throw_input("distributed", "{} is set, {} is not: set both or none", has(one) ? one : other,
                  has(one) ? other : one);
    }
  }

 private:
  const Variables& variables_;
  std::string starter_;
};

void require_below(const std::string& name, int value, const std::string& limit_name, int limit) {
  if (value < limit) return;
  throw_input("distributed", "{} is {}, but {} is {}: ranks count from 0", name, value, limit_name, limit);
}

void require_at_most(const std::string& name, int value, const std::string& limit_name, int limit) {
  if (value <= limit) return;
  throw_input("distributed", "{} is {}, more than {}, which is {}", name, value, limit_name, limit);
}

// A port that all ranks of a job derive alike: FNV-1a of the job's name.
std::uint16_t port_of_job(const std::string& job) {
  std::uint32_t hash = 2166136261u;
  for (const unsigned char byte : job) hash = (hash ^ byte) * 16777619u;
  return static_cast<std::uint16_t>(first_derived_port + hash % derived_ports);
}

// MASTER_ADDR and MASTER_PORT where the user set them.
void take_master(const Reader& reader, Meeting& meeting) {
  if (reader.has("MASTER_ADDR")) meeting.address = reader.text("MASTER_ADDR");
  if (reader.has("MASTER_PORT")) meeting.port = static_cast<std::uint16_t>(reader.number("MASTER_PORT", 1, 65535));
}

Meeting from_torchrun(const Variables& variables) {
  const Reader reader(variables, "torchrun");
  Meeting meeting;
  meeting.starter = "torchrun";
  reader.pair("RANK", "WORLD_SIZE");
  reader.pair("LOCAL_RANK", "LOCAL_WORLD_SIZE");
  Place& place = meeting.place;
  place.size = reader.number("WORLD_SIZE", 1);
  place.rank = reader.number("RANK", 0);
  require_below("RANK", place.rank, "WORLD_SIZE", place.size);
  if (reader.has("LOCAL_RANK")) {
    place.local_size = reader.number("LOCAL_WORLD_SIZE", 1);
    place.local_rank = reader.number("LOCAL_RANK", 0);
    require_below("LOCAL_RANK", place.local_rank, "LOCAL_WORLD_SIZE", place.local_size);
    require_at_most("LOCAL_WORLD_SIZE", place.local_size, "WORLD_SIZE", place.size);
  }
  if (reader.has("TORCHELASTIC_RESTART_COUNT")) meeting.restarts = reader.number("TORCHELASTIC_RESTART_COUNT", 0);
  meeting.hosted_by_starter = variables("TORCHELASTIC_USE_AGENT_STORE") == "True";
  meeting.supervised = reader.has("RRHF_SUPERVISED");
  if (place.size == 1) return meeting;
  meeting.address = reader.text("MASTER_ADDR");
  meeting.port = static_cast<std::uint16_t>(reader.number("MASTER_PORT", 1, 65535));
  return meeting;
}

Meeting from_open_mpi(const Variables& variables) {
  const Reader reader(variables, "Open MPI");
  Meeting meeting;
  meeting.starter = "Open MPI";
  Place& place = meeting.place;
  place.size = reader.number("OMPI_COMM_WORLD_SIZE", 1);
  place.rank = reader.number("OMPI_COMM_WORLD_RANK", 0);
  place.local_size = reader.number("OMPI_COMM_WORLD_LOCAL_SIZE", 1);
  place.local_rank = reader.number("OMPI_COMM_WORLD_LOCAL_RANK", 0);
  require_below("OMPI_COMM_WORLD_RANK", place.rank, "OMPI_COMM_WORLD_SIZE", place.size);
  require_below("OMPI_COMM_WORLD_LOCAL_RANK", place.local_rank, "OMPI_COMM_WORLD_LOCAL_SIZE", place.local_size);
  require_at_most("OMPI_COMM_WORLD_LOCAL_SIZE", place.local_size, "OMPI_COMM_WORLD_SIZE", place.size);
  if (place.size == 1) return meeting;
  if (place.local_size == place.size) meeting.address = "127.0.0.1";
  meeting.port = port_of_job(variables("PMIX_NAMESPACE").value_or(variables("OMPI_MCA_ess_base_jobid").value_or("")));
  take_master(reader, meeting);
  if (meeting.address.empty()) {
    throw_input("distributed",
                "MASTER_ADDR is not set: with ranks on several machines, Open MPI does not say where rank 0 is (mpirun "
                "-x MASTER_ADDR=HOST ...)");
  }
  return meeting;
}

// How many tasks this srun started, or 1 in a shell or a batch script of an allocation.
int slurm_tasks(const Reader& reader, const Variables& variables) {
  if (!reader.has("SLURM_PROCID")) return 1;
  if (reader.has("SLURM_STEP_NUM_TASKS")) return reader.number("SLURM_STEP_NUM_TASKS", 1);
  if (!reader.has("SLURM_NTASKS") || variables("ENVIRONMENT") == "BATCH") return 1;
  return reader.number("SLURM_NTASKS", 1);
}

// What "2(x3),1" has for a node: tasks per node, as Slurm writes them.
int slurm_tasks_on_node(const std::string& name, const std::string& list, int node) {
  int left = node;
  for (std::size_t at = 0; at < list.size();) {
    const std::string part = list.substr(at, list.find(',', at) - at);
    at += part.size() + 1;
    const std::size_t times = part.find("(x");
    const int count = parse_number(name, part.substr(0, times), 1, INT_MAX);
    const std::size_t digits = times == std::string::npos ? 0 : part.find(')') - times - 2;
    const int nodes = times == std::string::npos ? 1 : parse_number(name, part.substr(times + 2, digits), 1, INT_MAX);
    if (left < nodes) return count;
    left -= nodes;
  }
  throw_input("distributed", "{} is {}: it has no node {}, which SLURM_NODEID names", name, list, node);
}

int slurm_local_size(const Reader& reader, int size) {
  const int node = reader.has("SLURM_NODEID") ? reader.number("SLURM_NODEID", 0) : 0;
  if (reader.has("SLURM_STEP_TASKS_PER_NODE")) {
    return slurm_tasks_on_node("SLURM_STEP_TASKS_PER_NODE", reader.text("SLURM_STEP_TASKS_PER_NODE"), node);
  }
  if (reader.has("SLURM_NTASKS_PER_NODE")) return std::min(reader.number("SLURM_NTASKS_PER_NODE", 1), size);
  return slurm_tasks_on_node("SLURM_TASKS_PER_NODE", reader.text("SLURM_TASKS_PER_NODE"), node);
}

Meeting from_slurm(const Variables& variables) {
  const Reader reader(variables, "Slurm");
  const int size = slurm_tasks(reader, variables);
  if (size == 1) return Meeting();
  Meeting meeting;
  meeting.starter = "Slurm";
  Place& place = meeting.place;
  place.size = size;
  place.rank = reader.number("SLURM_PROCID", 0);
  place.local_rank = reader.number("SLURM_LOCALID", 0);
  place.local_size = slurm_local_size(reader, size);
  require_below("SLURM_PROCID", place.rank, "SLURM_NTASKS", place.size);
  require_below("SLURM_LOCALID", place.local_rank, "SLURM_NTASKS_PER_NODE", place.local_size);
  meeting.port = port_of_job(variables("SLURM_JOB_ID").value_or("") + "." + variables("SLURM_STEP_ID").value_or(""));
  take_master(reader, meeting);
  if (meeting.address.empty()) {
    const bool step = reader.has("SLURM_STEP_NODELIST");
    meeting.address = first_host(reader.text(step ? "SLURM_STEP_NODELIST" : "SLURM_JOB_NODELIST"));
  }
  return meeting;
}

}  // namespace

std::string first_host(const std::string& list) {
  const std::size_t bracket = list.find('['), comma = list.find(',');
  std::string host = list.substr(0, std::min(comma, bracket));
  if (bracket < comma) {
    const std::size_t close = list.find(']', bracket);
    const std::size_t end = list.find_first_of("-,]", bracket);
    if (close == std::string::npos || end == bracket + 1) {
      throw_input("distributed", "{} is no list of hosts: a [ needs numbers and a ]", list);
    }
    // What stands behind the bracket belongs to the name too, up to the next comma: "rack[1-2]-a".
    const std::size_t tail_end = list.find(',', close);
    host += list.substr(bracket + 1, end - bracket - 1) + list.substr(close + 1, tail_end - close - 1);
  }
  if (host.empty()) throw_input("distributed", "{} is no list of hosts", list.empty() ? "an empty text" : list);
  return host;
}

Meeting read_environment(const Variables& variables, std::string host) {
  const auto set = [&](const char* name) { return variables(name).has_value(); };
  Meeting meeting = set("RANK") || set("WORLD_SIZE")                             ? from_torchrun(variables)
                    : set("OMPI_COMM_WORLD_RANK") || set("OMPI_COMM_WORLD_SIZE") ? from_open_mpi(variables)
                                                                                 : from_slurm(variables);
  meeting.place.host = std::move(host);
  return meeting;
}

Meeting read_environment() {
  std::array<char, HOST_NAME_MAX + 1> host{};
  ::gethostname(host.data(), host.size() - 1);
  const auto variable = [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    return value == nullptr ? std::nullopt : std::optional<std::string>(value);
  };
  return read_environment(variable, host.data());
}

}  // namespace rrhf::distributed
