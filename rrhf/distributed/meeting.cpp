#include "rrhf/distributed/meeting.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fmt/ranges.h>

#include <algorithm>
#include <csignal>
#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "rrhf/core/error.h"
#include "rrhf/core/log.h"
#include "rrhf/distributed/differences.h"
#include "rrhf/distributed/group.h"

namespace rrhf::distributed {
namespace {

std::string first_line(std::string_view text) { return std::string(text.substr(0, text.find('\n'))); }

// This machine's address on the network that leads to the meeting point: no packet is sent. "" when there is no way to
// tell, or when the machine knows the meeting point as its own loopback, which is of no use to other machines.
std::string own_address(const Meeting& meeting) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_DGRAM;
  if (::getaddrinfo(meeting.address.c_str(), std::to_string(meeting.port).c_str(), &hints, &found) != 0) return "";
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> release(found, ::freeaddrinfo);
  const int socket = ::socket(found->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (socket < 0) return "";
  sockaddr_storage name{};
  socklen_t length = sizeof(name);
  char text[NI_MAXHOST] = "";
  if (::connect(socket, found->ai_addr, found->ai_addrlen) == 0 &&
      ::getsockname(socket, reinterpret_cast<sockaddr*>(&name), &length) == 0) {
    ::getnameinfo(reinterpret_cast<sockaddr*>(&name), length, text, sizeof(text), nullptr, 0, NI_NUMERICHOST);
  }
  ::close(socket);
  const std::string address = text;
  const bool loopback = address.starts_with("127.") || address == "::1";
  return loopback && meeting.place.size > meeting.place.local_size ? "" : address;
}

using StorePointer = c10::intrusive_ptr<c10d::Store>;

StorePointer open_store(const Meeting& meeting, bool server, std::chrono::milliseconds timeout) {
  c10d::TCPStoreOptions options;
  options.port = meeting.port;
  options.isServer = server;
  options.waitWorkers = false;
  options.timeout = timeout;
  return c10::make_intrusive<c10d::PrefixStore>(store_prefix(meeting.restarts),
                                                c10::make_intrusive<c10d::TCPStore>(meeting.address, options));
}

WatchOptions watch_options(const Meeting& meeting, const WorldOptions& options) {
  const std::string point = fmt::format("{}:{}", meeting.address, meeting.port);
  // Many ranks share the store's one thread.
  const int pace = std::max(1, meeting.place.size / 64);
  return {.place = meeting.place,
          .limits = {.timeout = options.timeout, .beat = pace * std::chrono::milliseconds(1000)},
          .hosts_store = meeting.place.rank == 0 && !meeting.hosted_by_starter,
          .store = meeting.hosted_by_starter ? fmt::format("the starter, which holds the meeting point {}", point)
                                             : fmt::format("rank 0, which holds the meeting point {}", point),
          .supervised = meeting.supervised,
          .speak = options.speak ? options.speak
                                 : [](const Verdict& verdict, bool) { log("[distributed] {}", verdict.text); }};
}

// A single process has no use for a group, but one that was told to use NCCL is there to find out whether it works.
bool tries_nccl_alone(const WorldOptions& options) {
  return options.backend == BackendChoice::nccl && options.device.is_cuda();
}

// What a rank connects with, which must be known to be the same before it is used: through it all else is compared.
std::string engine_text(const WorldOptions& options) {
  return fmt::format("parallel.backend: {}\ndevice: {}\nparallel.timeout_s: {}", name_of(options.backend),
                     options.device.is_cuda() ? "cuda" : "cpu", options.timeout.count());
}

// Throws AgreedError on every rank where one would connect by other means than rank 0.
void require_same_engine(const Place& place, const WorldOptions& options, c10d::Store& store) {
  std::vector<std::string> keys, differing;
  for (int rank = 0; rank < place.size; ++rank) keys.push_back(fmt::format("engine/{}", rank));
  // The host's name, which may be any text, comes last.
  const std::string own = engine_text(options) + "\n" + place.host;
  store.set(keys[static_cast<std::size_t>(place.rank)], own);
  store.wait(keys, options.timeout);
  const auto split = [](const std::vector<std::uint8_t>& bytes) {
    const std::string text(bytes.begin(), bytes.end());
    const std::size_t end = text.rfind('\n');
    return std::pair(text.substr(0, end), text.substr(end + 1));
  };
  const auto words = store.multiGet(keys);
  const auto [text_0, host_0] = split(words.front());
  for (std::size_t rank = 1; rank < words.size(); ++rank) {
    const auto [text, host] = split(words[rank]);
    if (text == text_0) continue;
    differing.push_back(fmt::format("rank {} on {} would connect by other means than rank 0 on {}:{}", rank, host,
                                    host_0, differences(text_0, text, 5)));
  }
  if (!differing.empty()) throw AgreedError(fmt::format("{}", fmt::join(differing, "\n")));
}

// Meets the other ranks, starts the watch, and connects to them.
void connect(const Meeting& meeting, const WorldOptions& options, Group& group) {
  const Place& place = meeting.place;
  // Writing to a rank that died is to be an error of that write: neither Gloo nor the store asks for it.
  std::signal(SIGPIPE, SIG_IGN);
  const WatchOptions watch = watch_options(meeting, options);
  const bool alone = place.size == 1;
  const auto open = [&](bool server) { return open_store(meeting, server, options.timeout); };
  group.store = alone ? StorePointer(c10::make_intrusive<c10d::HashStore>()) : open(watch.hosts_store);
  group.watch = std::make_shared<Watch>(watch, alone ? group.store : open(false));
  require_same_engine(place, options, *group.store);
  group.backend =
      make_backend(c10::make_intrusive<c10d::PrefixStore>("group", group.store), place.rank, place.size, group.options);
}

std::string not_met(const Meeting& meeting, const std::exception& failure) {
  const Place& place = meeting.place;
  // torchrun and people name the port themselves.
  const bool derived = place.rank == 0 && (meeting.starter == "Slurm" || meeting.starter == "Open MPI");
  return fmt::format("rank {} of {} on {} did not meet the others at {}:{}: {}{}", place.rank, place.size, place.host,
                     meeting.address, meeting.port, first_line(failure.what()),
                     derived ? " (MASTER_PORT chooses another port)" : "");
}

}  // namespace

std::string store_prefix(int restarts) { return fmt::format("rrhf/{}", restarts); }

World join(const Meeting& meeting, const WorldOptions& options) {
  const Place& place = meeting.place;
  if (place.size == 1 && !tries_nccl_alone(options)) return World(place);
  auto group = std::make_shared<Group>();
  group->place = place;
  group->options = {
      .choice = options.backend, .device = options.device, .timeout = options.timeout, .address = own_address(meeting)};
  try {
    connect(meeting, options, *group);
  } catch (const AgreedError&) {
    throw;
  } catch (const Error& error) {
    if (group->watch) group->watch->accuse_self(error);
    throw;
  } catch (const std::exception& failure) {
    const PeerError error(not_met(meeting, failure));
    if (group->watch) group->watch->accuse_self(error);
    throw error;
  }
  return World(place, std::move(group));
}

}  // namespace rrhf::distributed
