#include "rrhf/distributed/watch.h"

#include <fmt/ranges.h>
#include <unistd.h>

#include <sstream>

#include "rrhf/core/error.h"

namespace rrhf::distributed {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr const char* verdict_key = "verdict";
constexpr milliseconds look_every{250};
// How long the store may take over a proposal before this rank ends on its own, and how long a rank that holds the
// store stays, so that the others read the verdict.
constexpr milliseconds patience{3'000};

std::string sign_key(int rank) { return fmt::format("sign/{}", rank); }

std::string first_line(std::string_view text) { return std::string(text.substr(0, text.find('\n'))); }

std::string missing_ranks(c10d::Store& store, const std::vector<std::string>& keys) {
  std::vector<std::size_t> missing;
  for (std::size_t rank = 0; rank < keys.size(); ++rank) {
    if (!store.check({keys[rank]})) missing.push_back(rank);
  }
  return fmt::format("{} {}", missing.size() == 1 ? "rank" : "ranks", fmt::join(missing, ", "));
}

}  // namespace

Watch::Watch(WatchOptions options, c10::intrusive_ptr<c10d::Store> store)
    : options_(std::move(options)), store_(std::move(store)) {
  const Place& place = options_.place;
  for (int rank = 0; rank < place.size; ++rank) sign_keys_.push_back(sign_key(rank));
  write_sign(false);
  try {
    store_->wait(sign_keys_, options_.limits.timeout);
  } catch (const std::exception&) {
    throw PeerError(fmt::format("{} of {} did not come to {} within {} s", missing_ranks(*store_, sign_keys_),
                                place.size, options_.store, options_.limits.timeout / std::chrono::seconds(1)));
  }
  observed_.rank = place.rank;
  observed_.store = options_.store;
  observed_.signs.resize(sign_keys_.size());
  observed_.last_collective = Clock::now();
  last_signs_.resize(sign_keys_.size());
  read_signs();
  talker_ = std::thread([this] { talk(); });
  looker_ = std::thread([this] { look(); });
}

Watch::~Watch() {
  {
    const std::scoped_lock lock(mutex_);
    leaving_ = true;
  }
  changed_.notify_all();
  talker_.join();
  looker_.join();
  try {
    write_sign(true);
    if (options_.hosts_store) wait_for_others(verdict_ ? patience : options_.limits.timeout);
  } catch (const std::exception&) {
    // The store is gone, and with it everybody who could read the sign.
  }
}

void Watch::began(const char* operation) {
  const std::scoped_lock lock(mutex_);
  ++observed_.collectives;
  observed_.last_collective = Clock::now();
  observed_.operation = operation;
}

void Watch::failed_in(const char* operation, const std::string& what) {
  {
    const std::scoped_lock lock(mutex_);
    observed_.broken = Clock::now();
    observed_.broken_text = fmt::format("{} failed: {}", operation, first_line(what));
  }
  for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
}

void Watch::accuse_self(const std::exception& failure) noexcept {
  try {
    std::unique_lock lock(mutex_);
    accusing_ = true;
    proposal_ = verdict_of(options_.place, failure);
    changed_.notify_all();
    changed_.wait_for(lock, patience, [this] { return verdict_.has_value() || !store_failure_.empty(); });
  } catch (const std::exception&) {
  }
}

void Watch::write_sign(bool left) {
  std::int64_t collectives = 0;
  {
    const std::scoped_lock lock(mutex_);
    collectives = observed_.collectives;
  }
  store_->set(sign_key(options_.place.rank),
              fmt::format("{} {} {} {}", ++beats_, collectives, left ? 1 : 0, options_.place.host));
}

void Watch::read_signs() {
  const auto words = store_->multiGet(sign_keys_);
  const std::scoped_lock lock(mutex_);
  const Moment now = Clock::now();
  observed_.store_answered = now;
  for (std::size_t rank = 0; rank < words.size(); ++rank) {
    std::string word(words[rank].begin(), words[rank].end());
    if (word == last_signs_[rank]) continue;
    std::istringstream stream(word);
    std::int64_t beat = 0;
    Sign& sign = observed_.signs[rank];
    stream >> beat >> sign.collectives >> sign.left >> sign.host;
    sign.seen = now;
    last_signs_[rank] = std::move(word);
  }
}

void Watch::talk_once() {
  write_sign(false);
  read_signs();
  std::optional<Verdict> proposal;
  {
    const std::scoped_lock lock(mutex_);
    proposal = proposal_;
  }
  std::string word;
  if (proposal) {
    word = store_->compareSet(verdict_key, "", to_word(*proposal));
  } else if (store_->check({verdict_key})) {
    word = store_->get_to_str(verdict_key);
  }
  if (word.empty()) return;
  const std::scoped_lock lock(mutex_);
  verdict_ = from_word(word);
  changed_.notify_all();
}

void Watch::talk() {
  for (std::unique_lock lock(mutex_); !leaving_;) {
    lock.unlock();
    try {
      talk_once();
    } catch (const std::exception& failure) {
      lock.lock();
      store_failure_ = first_line(failure.what());
      changed_.notify_all();
      return;
    }
    lock.lock();
    const bool asked = proposal_.has_value();
    changed_.wait_for(lock, options_.limits.beat, [&] { return leaving_ || (proposal_.has_value() && !asked); });
  }
}

void Watch::look() {
  std::optional<Moment> proposed;
  Moment last = Clock::now();
  for (std::unique_lock lock(mutex_); !leaving_ && !accusing_;) {
    const Moment now = Clock::now();
    // A process that was stopped itself has heard nobody: it listens again before it judges.
    if (now - last > patience) observed_.store_answered = now;
    last = now;
    observed_.now = now;
    if (verdict_) {
      const Verdict verdict = *verdict_;
      lock.unlock();
      end(verdict, false);
    }
    if (!store_failure_.empty()) {
      const Verdict verdict{.text = fmt::format("{} died or can't be reached: {}", options_.store, store_failure_)};
      lock.unlock();
      end(verdict, true);
    }
    if (!proposal_) proposal_ = judge(observed_, options_.limits);
    if (proposal_ && !proposed) proposed = now;
    if (proposed) changed_.notify_all();
    if (proposed && now - *proposed > patience) {
      const Verdict verdict = *proposal_;
      lock.unlock();
      end(verdict, true);
    }
    changed_.wait_for(lock, look_every,
                      [this] { return leaving_ || accusing_ || verdict_ || !store_failure_.empty(); });
  }
}

void Watch::wait_for_others(milliseconds limit) {
  const Moment until = Clock::now() + limit;
  while (Clock::now() < until) {
    read_signs();
    const std::scoped_lock lock(mutex_);
    bool all_gone = true;
    for (int rank = 0; rank < options_.place.size; ++rank) {
      const Sign& sign = observed_.signs[static_cast<std::size_t>(rank)];
      const bool silent = Clock::now() - sign.seen > 5 * options_.limits.beat;
      all_gone = all_gone && (rank == options_.place.rank || sign.left || silent);
    }
    if (all_gone) return;
    std::this_thread::sleep_for(milliseconds(20));
  }
}

// Whether this rank speaks in the place of a rank 0 that can't: the first to ask, or, where the store can't be asked,
// the first on each machine.
bool Watch::stands_in(const Verdict& verdict, bool alone) {
  const Place& place = options_.place;
  if (place.rank == 0) return false;
  const bool beside_rank_0 = place.rank == place.local_rank;
  if (alone) return place.local_rank == (beside_rank_0 ? 1 : 0);
  return verdict.rank == 0 && !verdict.spoken && store_->add("speakers", 1) == 1;
}

void Watch::end(const Verdict& verdict, bool alone) {
  {
    const std::scoped_lock lock(mutex_);
    leaving_ = true;
  }
  changed_.notify_all();
  bool speaks = false;
  try {
    speaks = stands_in(verdict, alone);
  } catch (const std::exception&) {
    speaks = stands_in(verdict, true);
  }
  options_.speak(verdict, speaks);
  try {
    if (!alone) write_sign(true);
    if (options_.hosts_store) wait_for_others(patience);
  } catch (const std::exception&) {
    // Nobody is left to read it.
  }
  ::_exit(options_.supervised ? ended_by_verdict : verdict.exit_code);
}

}  // namespace rrhf::distributed
