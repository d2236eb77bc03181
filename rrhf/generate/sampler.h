// From a row of logits to the next token: penalty, filters, draw.
//
// T is float or double, as the model computes. The order is transformers': repetition penalty, temperature, top-k,
// top-p.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "rrhf/core/decoding_options.h"
#include "rrhf/core/random.h"

namespace rrhf::generate {

/// log sum exp of the row: a token's log-prob is its logit minus it. Throws Error when it is not finite, as after a
/// weight that is not.
template <class T>
double log_normalizer(std::span<const T> logits_V);

/// Index of the largest, the first of equals.
template <class T>
std::int32_t likeliest(std::span<const T> logits_V);

/// Divides the positive logits of `seen` tokens by `penalty` and multiplies the others, once for each different token.
template <class T>
void penalize_repetition(std::span<T> logits_V, std::span<const std::int32_t> seen, double penalty);

/// What may be drawn, in ascending order of ids, with probabilities that sum to 1.
struct Candidates {
  std::vector<std::int32_t> ids;
  std::vector<double> probabilities;
};

/// The tokens that temperature, top_k and top_p leave. Tokens as likely as the k-th stay; of equals at top_p's border
/// the lower ids do.
template <class T>
Candidates candidates(std::span<const T> logits_V, const DecodingOptions& options);

/// One of them, by one number of the stream.
std::int32_t draw(const Candidates& candidates, RandomStream& stream);

}  // namespace rrhf::generate
