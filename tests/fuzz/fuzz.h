// What the fuzz targets share. An input that is refused with an InputError is handled; any other exception, and a law
// that does not hold, is a finding.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>

#include "rrhf/core/error.h"

namespace rrhf::testing {

inline void require(bool holds, const char* law) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", law);
  std::abort();
}

/// Reads every byte, so that a sanitizer sees a view that is not there.
inline void touch(std::span<const std::byte> bytes) {
  std::byte all{};
  for (const std::byte byte : bytes) all ^= byte;
  volatile auto sink = all;
  (void)sink;
}

/// Reads one input as `read` says. libFuzzer gives it in memory of exactly its size, so a byte too far is seen.
template <class Read>
int fuzz_one(const std::uint8_t* data, std::size_t size, Read read) {
  try {
    read(std::as_bytes(std::span(data, size)));
  } catch (const InputError&) {
  }
  return 0;
}

}  // namespace rrhf::testing
