// Ranks as forked processes: c10d's groups are of one process each, and a rank that dies must not take the test along.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "rrhf/distributed/meeting.h"

namespace rrhf::testing {

/// A port that nobody listened on a moment ago.
inline std::uint16_t free_port() {
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  if (::bind(socket, reinterpret_cast<sockaddr*>(&address), length) != 0) throw std::runtime_error("no port");
  ::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length);
  ::close(socket);
  return ntohs(address.sin_port);
}

inline void require(bool holds, const std::string& what) {
  if (!holds) throw std::runtime_error(what);
}

inline distributed::Meeting meeting_of(int rank, int size, std::uint16_t port) {
  return {.place = {.rank = rank,
                    .size = size,
                    .local_rank = rank,
                    .local_size = size,
                    .host = "box" + std::to_string(rank)},
          .address = "127.0.0.1",
          .port = port};
}

/// Runs `body` once in each of `size` processes, and returns their exit codes: 0, or 1 with what was thrown on stderr.
/// 128 + N for a signal.
inline std::vector<int> run_ranks(int size, const std::function<void(const distributed::Meeting&)>& body) {
  const std::uint16_t port = free_port();
  std::vector<pid_t> children;
  for (int rank = 0; rank < size; ++rank) {
    std::fflush(nullptr);
    const pid_t child = ::fork();
    if (child != 0) {
      children.push_back(child);
      continue;
    }
    int code = 0;
    try {
      body(meeting_of(rank, size, port));
    } catch (const std::exception& failure) {
      std::fprintf(stderr, "rank %d: %s\n", rank, failure.what());
      code = 1;
    }
    std::fflush(nullptr);
    ::_exit(code);
  }
  std::vector<int> codes;
  for (const pid_t child : children) {
    int status = 0;
    ::waitpid(child, &status, 0);
    codes.push_back(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
  }
  return codes;
}

/// Fails unless every rank ended with 0.
inline void expect_ranks(int size, const std::function<void(const distributed::World&)>& body) {
  const auto codes = run_ranks(size, [&](const distributed::Meeting& meeting) {
    const distributed::World world = distributed::join(meeting, {.timeout = std::chrono::seconds(30)});
    body(world);
  });
  EXPECT_EQ(codes, std::vector<int>(static_cast<std::size_t>(size), 0));
}

}  // namespace rrhf::testing
