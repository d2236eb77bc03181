// Finished hypotheses of a beam search, the best of them kept.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "rrhf/generate/generator.h"

namespace rrhf::generate {

/// The best `most` finished hypotheses of a group (transformers 4.44, BeamHypotheses). Scores are summed log-probs
/// divided by length^length_penalty; the length counts new tokens with the EOS.
class Hypotheses {
 public:
  Hypotheses(std::int64_t most, double length_penalty) : most_(most), length_penalty_(length_penalty) {}

  double score(double sum, std::int64_t length) const {
    return sum / std::pow(static_cast<double>(length), length_penalty_);
  }

  /// Keeps the answer if it is among the best; its score is set by `sum` and `length`.
  void add(Answer answer, double sum, std::int64_t length) {
    answer.score = score(sum, length);
    if (std::ssize(kept_) < most_) {
      kept_.push_back(std::move(answer));
    } else if (answer.score > worst()->score) {
      kept_.erase(worst());
      kept_.push_back(std::move(answer));
    }
  }

  /// True once there are enough and none of sum `best_sum` would be better at this length: the rule of
  /// transformers' early_stopping=False, which takes the length so far for the length to be.
  bool complete(double best_sum, std::int64_t length) {
    return std::ssize(kept_) >= most_ && worst()->score >= score(best_sum, length);
  }

  std::vector<Answer>& kept() noexcept { return kept_; }

 private:
  // The first of the worst.
  std::vector<Answer>::iterator worst() {
    return std::min_element(kept_.begin(), kept_.end(),
                            [](const Answer& a, const Answer& b) { return a.score < b.score; });
  }

  std::int64_t most_;
  double length_penalty_;
  std::vector<Answer> kept_;
};

}  // namespace rrhf::generate
