// Beam search and diverse beam search (Vijayakumar et al. 2018), token for token as transformers 4.44 has them: twice
// as many candidates as beams, an EOS counts only among the first half, groups one after the other with a penalty on
// the log-probs of tokens that earlier groups chose in this step. A group that has ended goes on choosing the padding
// token (the EOS where there is none), as its padded rows do there. Beyond transformers: an answer in which a stop
// string is complete counts as one that said EOS.
#include <ATen/ATen.h>

#include <algorithm>

#include "rrhf/generate/answer_text.h"
#include "rrhf/generate/hypotheses.h"
#include "rrhf/generate/sampler.h"
#include "rrhf/generate/search.h"

namespace rrhf::generate {
namespace {

using Ids = std::vector<std::int32_t>;

// A hypothesis under way.
struct Beam {
  AnswerText text;  // kept up only where there are stop strings
  Ids tokens{};
  double sum = 0;      // of log-probs with penalties: what beams are ordered by
  double logprob = 0;  // of the model's own
  std::int64_t row = 0;
};

struct Group {
  std::vector<Beam> beams;
  Hypotheses finished;
  Ids chosen{};  // the tokens its beams go on with, or would
  bool done = false;
};

// A way to go on: the token after a beam.
struct Candidate {
  double sum = 0;
  std::size_t beam = 0;
  std::int32_t token = 0;
  double logprob = 0;  // the token's own
};

bool better(const Candidate& a, const Candidate& b) {
  if (a.sum != b.sum) return a.sum > b.sum;
  return a.beam != b.beam ? a.beam < b.beam : a.token < b.token;
}

class BeamSearch final : public Search {
 public:
  BeamSearch(const SearchContext& context, const SearchPrompt& prompt)
      : context_(context),
        options_(context.options),
        prompt_(prompt.ids.begin(), prompt.ids.end()),
        most_new_(prompt.most_new) {
    const bool grouped = options_.method == DecodingMethod::diverse_beam;
    const std::int64_t groups = grouped ? options_.groups : 1;
    group_size_ = options_.beams / groups;
    const Beam first{.text = AnswerText(context.tokenizer, options_.stop)};
    for (std::int64_t i = 0; i < groups; ++i) {
      groups_.push_back({.beams = {first}, .finished = Hypotheses(group_size_, options_.length_penalty)});
    }
  }

  void decide(const at::Tensor& logits_RV) override {
    ++length_;
    logits_RV.scalar_type() == at::kFloat ? decide_as<float>(logits_RV) : decide_as<double>(logits_RV);
    if (length_ < most_new_) return;
    for (Group& group : groups_) {
      for (Beam& beam : group.beams) finish(group, std::move(beam), Ending::length);
      group.beams.clear();
    }
  }

  std::vector<Branch> go_on(const TellToken& tell) override {
    std::vector<Branch> branches;
    for (Group& group : groups_) {
      for (Beam& beam : group.beams) {
        branches.push_back({beam.row, beam.tokens.back()});
        beam.row = std::ssize(branches) - 1;
      }
    }
    return branches;
  }

  std::vector<Answer> answers() override {
    std::vector<Answer> all;
    for (Group& group : groups_)
      std::move(group.finished.kept().begin(), group.finished.kept().end(), std::back_inserter(all));
    // Of equals the later first, as transformers pops them from the end of a stable order.
    std::reverse(all.begin(), all.end());
    std::stable_sort(all.begin(), all.end(), [](const Answer& a, const Answer& b) { return a.score > b.score; });
    if (std::ssize(all) > options_.answers) all.resize(static_cast<std::size_t>(options_.answers));
    for (Answer& answer : all) {
      if (answer.ending != Ending::stop) answer.text = context_.tokenizer.decode(answer.tokens);
    }
    return all;
  }

  std::int64_t new_tokens() const override { return new_tokens_; }

 private:
  template <class T>
  void decide_as(const at::Tensor& logits_RV) {
    Ids chosen;  // by the groups so far
    const std::int32_t padding = context_.tokenizer.pad_id().value_or(context_.tokenizer.eos_id());
    for (Group& group : groups_) {
      if (group.done) {
        chosen.insert(chosen.end(), static_cast<std::size_t>(group_size_), padding);
        continue;
      }
      advance(group, best_candidates<T>(group, logits_RV, chosen));
      chosen.insert(chosen.end(), group.chosen.begin(), group.chosen.end());
    }
  }

  // The best 2 * group_size ways to go on, the best first.
  template <class T>
  std::vector<Candidate> best_candidates(const Group& group, const at::Tensor& logits_RV, const Ids& chosen) const {
    std::vector<Candidate> all;
    for (std::size_t i = 0; i < group.beams.size(); ++i) {
      const std::span row(logits_RV.const_data_ptr<T>() + group.beams[i].row * logits_RV.stride(0),
                          static_cast<std::size_t>(logits_RV.size(1)));
      add_best(i, group.beams[i], row, chosen, all);
    }
    keep_best(all);
    return all;
  }

  template <class T>
  void add_best(std::size_t index, const Beam& beam, std::span<const T> row, const Ids& chosen,
                std::vector<Candidate>& all) const {
    const T normalizer = static_cast<T>(log_normalizer(row));
    std::vector<T> logprobs(row.size());
    for (std::size_t id = 0; id < row.size(); ++id) logprobs[id] = row[id] - normalizer;
    for (const std::int32_t id : chosen) logprobs[static_cast<std::size_t>(id)] -= static_cast<T>(options_.diversity);
    if (options_.repetition_penalty != 1) {
      Ids seen = prompt_;
      seen.insert(seen.end(), beam.tokens.begin(), beam.tokens.end());
      penalize_repetition<T>(logprobs, seen, options_.repetition_penalty);
    }
    std::vector<Candidate> own;
    const auto most = static_cast<std::size_t>(2 * group_size_);
    T least = 0;  // of the worst that is kept; only better ones can matter, as ties go to the lower id
    for (std::size_t id = 0; id < logprobs.size(); ++id) {
      if (own.size() >= most && logprobs[id] <= least) continue;
      const T sum = logprobs[id] + static_cast<T>(beam.sum);
      own.push_back({sum, index, static_cast<std::int32_t>(id), static_cast<double>(row[id] - normalizer)});
      if (own.size() < 8 * most && own.size() != most) continue;
      keep_best(own);
      least = logprobs[static_cast<std::size_t>(own.back().token)];
    }
    all.insert(all.end(), own.begin(), own.end());
  }

  void keep_best(std::vector<Candidate>& all) const {
    const std::size_t most = std::min(all.size(), static_cast<std::size_t>(2 * group_size_));
    std::partial_sort(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(most), all.end(), better);
    all.resize(most);
  }

  void advance(Group& group, const std::vector<Candidate>& candidates) {
    std::vector<Beam> next;
    group.chosen.clear();
    for (std::size_t rank = 0; rank < candidates.size() && std::ssize(next) < group_size_; ++rank) {
      const Candidate& candidate = candidates[rank];
      const bool counts = static_cast<std::int64_t>(rank) < group_size_;
      Beam beam = group.beams[candidate.beam];
      beam.sum = candidate.sum;
      beam.logprob += candidate.logprob;
      ++new_tokens_;
      if (candidate.token == context_.tokenizer.eos_id()) {
        if (counts) finish(group, std::move(beam), Ending::eos);
        continue;
      }
      beam.tokens.push_back(candidate.token);
      if (!options_.stop.empty()) beam.text.add(candidate.token);
      if (beam.text.stopped()) {
        if (counts) finish(group, std::move(beam), Ending::stop);
        continue;
      }
      group.chosen.push_back(candidate.token);
      next.push_back(std::move(beam));
    }
    group.done = next.empty() || group.finished.complete(candidates.front().sum, length_);
    group.beams = group.done ? std::vector<Beam>() : std::move(next);
  }

  void finish(Group& group, Beam beam, Ending ending) {
    Answer answer{.tokens = std::move(beam.tokens), .text = {}, .ending = ending, .logprob = beam.logprob};
    if (ending == Ending::stop) answer.text = beam.text.text();
    group.finished.add(std::move(answer), beam.sum, length_);
  }

  const SearchContext& context_;
  const DecodingOptions& options_;
  Ids prompt_;
  std::int64_t most_new_;
  std::int64_t group_size_ = 1;
  std::vector<Group> groups_;
  std::int64_t length_ = 0;
  std::int64_t new_tokens_ = 0;
};

}  // namespace

std::unique_ptr<Search> make_beam_search(const SearchContext& context, const SearchPrompt& prompt) {
  return std::make_unique<BeamSearch>(context, prompt);
}

}  // namespace rrhf::generate
