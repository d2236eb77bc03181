#include "rrhf/distributed/backend.h"

#include <cstdlib>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#ifdef USE_C10D_GLOO
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#endif
#ifdef USE_C10D_NCCL
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

#include "rrhf/core/error.h"

namespace rrhf::distributed {
namespace {

using Made = c10::intrusive_ptr<c10d::Backend>;

// Longer than the watch's own timeout, which knows more about who is late.
constexpr std::chrono::seconds after_the_watch{10};
// Once connected: the watch sees as well that a collective does not end, and leaves out the time in which the processes
// were stopped, as c10d does not.
constexpr std::chrono::hours no_limit{24 * 365};

#ifdef USE_C10D_GLOO
std::shared_ptr<gloo::transport::Device> gloo_device(const std::string& address) {
  using Group = c10d::ProcessGroupGloo;
  if (const char* interface = std::getenv("GLOO_SOCKET_IFNAME")) return Group::createDeviceForInterface(interface);
  return address.empty() ? Group::createDefaultDevice() : Group::createDeviceForHostname(address);
}

Made make_gloo(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size, const BackendOptions& options) {
  auto settings = c10d::ProcessGroupGloo::Options::create(options.timeout + after_the_watch);
  settings->devices.push_back(gloo_device(options.address));
  auto group = c10::make_intrusive<c10d::ProcessGroupGloo>(store, rank, size, settings);
  group->setTimeout(no_limit);
  return group;
}
constexpr bool has_gloo = true;
#else
Made make_gloo(const c10::intrusive_ptr<c10d::Store>&, int, int, const BackendOptions&) { return {}; }
constexpr bool has_gloo = false;
#endif

#ifdef USE_C10D_NCCL
// Ends its communicators before the process does: left to static destruction, NCCL hangs or aborts.
class Nccl : public c10d::ProcessGroupNCCL {
 public:
  using ProcessGroupNCCL::ProcessGroupNCCL;
  ~Nccl() override { shutdown(); }
};

Made make_nccl(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size, const BackendOptions& options) {
  auto settings = c10d::ProcessGroupNCCL::Options::create();
  settings->timeout = options.timeout + after_the_watch;
  auto group = c10::make_intrusive<Nccl>(store, rank, size, settings);
  group->setBoundDeviceId(options.device);
  return group;
}
constexpr bool has_nccl = true;
#else
Made make_nccl(const c10::intrusive_ptr<c10d::Store>&, int, int, const BackendOptions&) { return {}; }
constexpr bool has_nccl = false;
#endif

bool wants_nccl(const BackendOptions& options) {
  if (options.choice == BackendChoice::automatic) return options.device.is_cuda() && has_nccl;
  return options.choice == BackendChoice::nccl;
}

void require_backend(const BackendOptions& options) {
  if (wants_nccl(options)) {
    if (!has_nccl) {
      throw_input("distributed",
                  "this program was built without NCCL: it takes a LibTorch with CUDA and NCCL's header (Debian: "
                  "libnccl-dev; pip: nvidia-nccl-cu12), then cmake --preset cuda as in docs/distributed.md; or "
                  "parallel.backend "
                  "gloo");
    }
    if (!options.device.is_cuda()) throw_input("distributed", "parallel.backend nccl needs device cuda");
  } else if (!has_gloo) {
    throw_input("distributed",
                "this program was built without Gloo: apt-get install libgloo-dev, then tools/build again; a single "
                "process needs none");
  }
}

}  // namespace

Made make_backend(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size, const BackendOptions& options) {
  require_backend(options);
  return wants_nccl(options) ? make_nccl(store, rank, size, options) : make_gloo(store, rank, size, options);
}

}  // namespace rrhf::distributed
