#include "rrhf/distributed/meeting.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "rrhf/core/error.h"
#include "rrhf/core/log.h"
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

}  // namespace

std::string store_prefix(int restarts) { return fmt::format("rrhf/{}", restarts); }

World join(const Meeting& meeting, const WorldOptions& options) {
  const Place& place = meeting.place;
  if (place.size == 1) return World(place);
  // Writing to a rank that died is to be an error of that write: neither Gloo nor the store asks for it.
  std::signal(SIGPIPE, SIG_IGN);
  auto group = std::make_shared<Group>();
  group->place = place;
  group->options = {
      .choice = options.backend, .device = options.device, .timeout = options.timeout, .address = own_address(meeting)};
  require_backend(group->options);
  try {
    const WatchOptions watch = watch_options(meeting, options);
    group->store = open_store(meeting, watch.hosts_store, options.timeout);
    group->watch = std::make_shared<Watch>(watch, open_store(meeting, false, options.timeout));
    group->backend = make_backend(c10::make_intrusive<c10d::PrefixStore>("group", group->store), place.rank, place.size,
                                  group->options);
  } catch (const PeerError&) {
    throw;
  } catch (const std::exception& failure) {
    const PeerError error(fmt::format("rank {} of {} on {} did not meet the others at {}:{}: {}", place.rank,
                                      place.size, place.host, meeting.address, meeting.port,
                                      first_line(failure.what())));
    if (group->watch) group->watch->accuse_self(error);
    throw error;
  }
  return World(place, std::move(group));
}

}  // namespace rrhf::distributed
