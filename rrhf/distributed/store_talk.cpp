#include "rrhf/distributed/store_talk.h"

#include <fmt/ranges.h>

#include <chrono>
#include <sstream>

#include "rrhf/core/error.h"

namespace rrhf::distributed {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* verdict_key = "verdict";
// The watch's clock tells how long the store has not answered, and leaves out the time in which the process was
// stopped. The store's own limit does not, so it is out of reach.
constexpr std::chrono::hours no_limit{24 * 365};

std::string sign_key(int rank) { return fmt::format("sign/{}", rank); }

std::string first_line(std::string_view text) { return std::string(text.substr(0, text.find('\n'))); }

}  // namespace

StoreTalk::StoreTalk(Place place, Limits limits, std::string store_name, c10::intrusive_ptr<c10d::Store> store)
    : place_(std::move(place)), limits_(limits), store_(std::move(store)) {
  for (int rank = 0; rank < place_.size; ++rank) sign_keys_.push_back(sign_key(rank));
  last_signs_.resize(sign_keys_.size());
  known_.observed.rank = place_.rank;
  known_.observed.store = std::move(store_name);
  known_.observed.signs.resize(sign_keys_.size());
}

std::string StoreTalk::missing_ranks() const {
  std::vector<std::size_t> missing;
  for (std::size_t rank = 0; rank < sign_keys_.size(); ++rank) {
    if (!store_->check({sign_keys_[rank]})) missing.push_back(rank);
  }
  return fmt::format("{} {}", missing.size() == 1 ? "rank" : "ranks", fmt::join(missing, ", "));
}

void StoreTalk::meet() {
  write_sign(false);
  try {
    store_->wait(sign_keys_, limits_.timeout);
  } catch (const std::exception&) {
    throw PeerError(fmt::format("{} of {} did not come to {} within {} s", missing_ranks(), place_.size,
                                known_.observed.store, limits_.timeout / std::chrono::seconds(1)));
  }
  store_->setTimeout(no_limit);
  known_.observed.last_collective = Clock::now();
  read_signs();
}

void StoreTalk::write_sign(bool left) {
  std::int64_t collectives = 0;
  {
    const std::scoped_lock lock(known_.mutex);
    collectives = known_.observed.collectives;
  }
  store_->set(sign_key(place_.rank), fmt::format("{} {} {} {}", ++beats_, collectives, left ? 1 : 0, place_.host));
}

void StoreTalk::read_signs() {
  const auto words = store_->multiGet(sign_keys_);
  const std::scoped_lock lock(known_.mutex);
  const Moment now = Clock::now();
  known_.observed.store_answered = now;
  for (std::size_t rank = 0; rank < words.size(); ++rank) {
    std::string word(words[rank].begin(), words[rank].end());
    if (word == last_signs_[rank]) continue;
    std::istringstream stream(word);
    std::int64_t beat = 0;
    Sign& sign = known_.observed.signs[rank];
    stream >> beat >> sign.collectives >> sign.left >> sign.host;
    sign.seen = now;
    last_signs_[rank] = std::move(word);
  }
}

bool StoreTalk::speaks_first() { return store_->add("speakers", 1) == 1; }

void StoreTalk::talk_once() {
  write_sign(false);
  read_signs();
  std::optional<Verdict> proposal;
  {
    const std::scoped_lock lock(known_.mutex);
    proposal = known_.proposal;
  }
  std::string word;
  if (proposal) {
    word = store_->compareSet(verdict_key, "", to_word(*proposal));
  } else if (store_->check({verdict_key})) {
    word = store_->get_to_str(verdict_key);
  }
  if (word.empty()) return;
  const std::scoped_lock lock(known_.mutex);
  known_.verdict = from_word(word);
  known_.changed.notify_all();
}

void StoreTalk::talk() {
  std::unique_lock lock(known_.mutex);
  while (!known_.leaving) {
    const bool proposed = known_.proposal.has_value();
    std::string failure;
    lock.unlock();
    try {
      talk_once();
    } catch (const std::exception& error) {
      failure = first_line(error.what());
      if (failure.empty()) failure = "it failed";
    }
    lock.lock();
    known_.store_failure = std::move(failure);
    if (!known_.store_failure.empty()) break;
    known_.changed.wait_for(lock, limits_.beat,
                            [&] { return known_.leaving || (known_.proposal.has_value() && !proposed); });
  }
  known_.talked_out = true;
  known_.changed.notify_all();
}

}  // namespace rrhf::distributed
