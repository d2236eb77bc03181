#include "rrhf/distributed/world.h"

#include <ATen/ATen.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>

#include "rrhf/distributed/differences.h"
#include "rrhf/distributed/group.h"

namespace rrhf::distributed {

using Works = std::vector<c10::intrusive_ptr<c10d::Work>>;

struct Flight {
  Works works;
  std::shared_ptr<Group> group;
  const char* operation;
  std::function<void()> then;  // what is left to do once the work is done, if anything
};

namespace {

// From here on a gathering's memory counts for more than its latency.
constexpr std::size_t large_gathering = std::size_t{1} << 20;

template <class Start>
Pending begin(const std::shared_ptr<Group>& group, const char* operation, Start start,
              std::function<void()> then = {}) {
  group->watch->began(operation);
  try {
    return Pending(std::make_shared<Flight>(Flight{start(*group->backend), group, operation, std::move(then)}));
  } catch (const std::exception& failure) {
    group->watch->failed_in(operation, failure.what());
  }
}

c10::intrusive_ptr<c10d::Work> begin_broadcast(c10d::Backend& backend, const at::Tensor& tensor, int from) {
  std::vector<at::Tensor> tensors{tensor};
  c10d::BroadcastOptions options;
  options.rootRank = from;
  return backend.broadcast(tensors, options);
}

at::Tensor bytes_of(const std::string& word, std::size_t length, at::Device device) {
  at::Tensor bytes = at::zeros({static_cast<std::int64_t>(length)}, at::kByte);
  std::memcpy(bytes.mutable_data_ptr(), word.data(), word.size());
  return bytes.to(device);
}

}  // namespace

void Pending::wait() {
  if (!flight_) return;
  const auto flight = std::exchange(flight_, {});
  Watch& watch = *flight->group->watch;
  watch.waits();
  try {
    for (const auto& work : flight->works) work->wait();
    if (flight->then) flight->then();
  } catch (const std::exception& failure) {
    watch.failed_in(flight->operation, failure.what());
  }
  watch.went_on();
}

World::World(Place place, std::shared_ptr<Group> group) : place_(std::move(place)), group_(std::move(group)) {}

bool World::of_gloo() const { return group_->backend->getBackendName() == "gloo"; }

Pending World::all_reduce(at::Tensor& tensor) const {
  if (!group_) return {};
  return begin(group_, "all_reduce", [&](c10d::Backend& backend) {
    std::vector<at::Tensor> tensors{tensor};
    return Works{backend.allreduce(tensors)};
  });
}

Pending World::all_gather(at::Tensor& whole, const at::Tensor& part) const {
  if (!group_) {
    if (whole.const_data_ptr() != part.const_data_ptr()) whole.view(-1).copy_(part.view(-1));
    return {};
  }
  at::Tensor from = part.view(-1), into = whole.view(-1);
  if (!of_gloo() || into.nbytes() < large_gathering) {
    return begin(group_, "all_gather",
                 [&](c10d::Backend& backend) { return Works{backend._allgather_base(into, from)}; });
  }
  // c10d has Gloo gather into a copy of the whole. Parts that each rank sends from where they lie need no memory.
  const auto slice = [&](int rank) { return into.narrow(0, rank * from.numel(), from.numel()); };
  if (slice(rank()).const_data_ptr() != from.const_data_ptr()) slice(rank()).copy_(from);
  return begin(group_, "all_gather", [&](c10d::Backend& backend) {
    Works works;
    for (int rank = 0; rank < size(); ++rank) works.push_back(begin_broadcast(backend, slice(rank), rank));
    return works;
  });
}

Pending World::reduce_scatter(at::Tensor& part, const at::Tensor& whole) const {
  if (!group_) {
    if (whole.const_data_ptr() != part.const_data_ptr()) part.view(-1).copy_(whole.view(-1));
    return {};
  }
  at::Tensor from = whole.view(-1), into = part.view(-1);
  if (!of_gloo()) {
    return begin(group_, "reduce_scatter",
                 [&](c10d::Backend& backend) { return Works{backend._reduce_scatter_base(into, from)}; });
  }
  // c10d has Gloo sum a copy of the whole and takes the slice of it; in place it needs no memory.
  const at::Tensor slice = from.narrow(0, rank() * into.numel(), into.numel());
  return begin(
      group_, "reduce_scatter",
      [&](c10d::Backend& backend) {
        std::vector<at::Tensor> tensors{from};
        return Works{backend.allreduce(tensors)};
      },
      [slice, into] { into.copy_(slice); });
}

Pending World::broadcast(at::Tensor& tensor, int from) const {
  if (!group_) return {};
  return begin(group_, "broadcast",
               [&](c10d::Backend& backend) { return Works{begin_broadcast(backend, tensor, from)}; });
}

void World::barrier() const {
  any(false);  // NCCL's own barrier has to be told the device; this is one
}

bool World::any(bool here) const {
  if (!group_) return here;
  at::Tensor count = at::full({1}, here ? 1 : 0, at::TensorOptions(at::kInt).device(group_->options.device));
  all_reduce(count).wait();
  return count.item<int>() > 0;
}

std::vector<std::string> World::gather_words(const std::string& word) const {
  if (!group_) return {word};
  const at::Device device = group_->options.device;
  const at::Tensor length = at::full({1}, static_cast<std::int64_t>(word.size()), at::kLong).to(device);
  at::Tensor lengths = at::zeros({size()}, length.options());
  all_gather(lengths, length).wait();
  lengths = lengths.cpu();
  const auto* counts = lengths.const_data_ptr<std::int64_t>();
  const auto longest = static_cast<std::size_t>(*std::max_element(counts, counts + size()));
  std::vector<std::string> words(static_cast<std::size_t>(size()));
  if (longest == 0) return words;
  const at::Tensor part = bytes_of(word, longest, device);
  at::Tensor whole = at::zeros({size() * static_cast<std::int64_t>(longest)}, part.options());
  all_gather(whole, part).wait();
  whole = whole.cpu();
  for (std::size_t rank = 0; rank < words.size(); ++rank) {
    const auto* begin = static_cast<const char*>(whole.const_data_ptr()) + rank * longest;
    words[rank].assign(begin, static_cast<std::size_t>(counts[rank]));
  }
  return words;
}

void World::require_same(std::string_view what, const std::string& text) const {
  if (!group_) return;
  const std::vector<std::string> hosts = gather_words(place_.host);
  const std::vector<std::string> texts = gather_words(text);
  std::vector<std::string> differing;
  for (std::size_t rank = 1; rank < texts.size(); ++rank) {
    if (texts[rank] == texts[0]) continue;
    differing.push_back(fmt::format("rank {} on {} has another {} than rank 0 on {}:{}", rank, hosts[rank], what,
                                    hosts[0], differences(texts[0], texts[rank], 5)));
  }
  if (!differing.empty()) throw AgreedError(fmt::format("{}", fmt::join(differing, "\n")));
}

World World::split(int color) const {
  if (!group_) return World(place_);
  const std::vector<std::string> colors = gather_words(std::to_string(color));
  Place place = place_;
  place.rank = static_cast<int>(std::count(colors.begin(), colors.begin() + rank(), colors[rank()]));
  place.size = static_cast<int>(std::ranges::count(colors, colors[rank()]));
  const int number = group_->splits++;
  if (place.size == 1 && size() > 1) return World(place);  // a group of one that is cut stays one
  auto part = std::make_shared<Group>(*group_);
  part->place = place;
  part->store = c10::make_intrusive<c10d::PrefixStore>(fmt::format("split/{}/{}", number, color), group_->store);
  try {
    part->backend = make_backend(part->store, place.rank, place.size, part->options);
  } catch (const std::exception& failure) {
    group_->watch->failed_in("split", failure.what());
  }
  return World(place, std::move(part));
}

void World::failed(const std::exception& failure) const noexcept {
  if (group_) group_->watch->accuse_self(failure);
}

}  // namespace rrhf::distributed
