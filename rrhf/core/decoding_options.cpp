#include "rrhf/core/decoding_options.h"

#include <cmath>

#include "rrhf/core/error.h"

namespace rrhf {
namespace {

class Mistakes {
 public:
  template <class... Args>
  void unless(bool fine, fmt::format_string<Args...> format, Args&&... args) {
    if (fine) return;
    if (!text_.empty()) text_ += '\n';
    text_ += fmt::format(format, std::forward<Args>(args)...);
  }
  void raise() const {
    if (!text_.empty()) throw InputError("generate", text_);
  }

 private:
  std::string text_;
};

// Far beyond what is of use, and what float32 logits bear.
constexpr double least_factor = 1e-6, largest_factor = 1e6;
bool is_factor(double value) { return value >= least_factor && value <= largest_factor; }

void check_beams(const DecodingOptions& options, Mistakes& mistakes) {
  mistakes.unless(options.beams >= 1, "beams is {}; it must be 1 or more", options.beams);
  mistakes.unless(options.answers <= options.beams, "{} answers a prompt are more than {} beams can give",
                  options.answers, options.beams);
  mistakes.unless(std::isfinite(options.length_penalty), "length_penalty is {}; it must be finite",
                  options.length_penalty);
  if (options.method != DecodingMethod::diverse_beam) return;
  mistakes.unless(options.groups >= 1, "groups is {}; it must be 1 or more", options.groups);
  if (options.groups >= 1) {
    mistakes.unless(options.beams % options.groups == 0, "{} beams can't be shared out evenly among {} groups",
                    options.beams, options.groups);
  }
  mistakes.unless(std::isfinite(options.diversity) && options.diversity >= 0, "diversity is {}; it must be 0 or more",
                  options.diversity);
}

}  // namespace

bool with_beams(const DecodingOptions& options) {
  return options.method == DecodingMethod::beam || options.method == DecodingMethod::diverse_beam;
}

std::int64_t sequences_of(const DecodingOptions& options) {
  return with_beams(options) ? options.beams : options.answers;
}

void check_decoding(const DecodingOptions& options) {
  Mistakes mistakes;
  mistakes.unless(options.answers >= 1, "answers is {}; it must be 1 or more", options.answers);
  mistakes.unless(options.max_new_tokens >= 1, "max_new_tokens is {}; it must be 1 or more", options.max_new_tokens);
  mistakes.unless(is_factor(options.temperature),
                  "temperature is {}; it must be from {} to {} (the greedy method is the limit at 0)",
                  options.temperature, least_factor, largest_factor);
  mistakes.unless(options.top_k >= 0, "top_k is {}; it must be 1 or more, or 0 for all", options.top_k);
  mistakes.unless(options.top_p > 0 && options.top_p <= 1, "top_p is {}; it must be above 0 and at most 1",
                  options.top_p);
  mistakes.unless(is_factor(options.repetition_penalty), "repetition_penalty is {}; it must be from {} to {}",
                  options.repetition_penalty, least_factor, largest_factor);
  for (const std::string& stop : options.stop) mistakes.unless(!stop.empty(), "a stop string is empty");
  switch (options.method) {
    case DecodingMethod::greedy:
      mistakes.unless(options.answers <= 1, "the greedy method gives 1 answer a prompt, not {}", options.answers);
      break;
    case DecodingMethod::top_p:
      break;
    case DecodingMethod::beam:
    case DecodingMethod::diverse_beam:
      check_beams(options, mistakes);
      break;
  }
  mistakes.raise();
}

}  // namespace rrhf
