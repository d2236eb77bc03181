#include "rrhf/generate/sampler.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <unordered_set>

#include "rrhf/core/error.h"
#include "rrhf/model/cpu_kernels.h"

namespace rrhf::generate {
namespace {

// softmax(logits / temperature).
template <class T>
std::vector<T> probabilities_at(std::span<const T> logits_V, double temperature) {
  std::vector<T> p(logits_V.size());
  const T factor = static_cast<T>(1 / temperature);
  const T most = *std::max_element(logits_V.begin(), logits_V.end());  // beyond it nothing overflows
  for (std::size_t i = 0; i < p.size(); ++i) p[i] = (logits_V[i] - most) * factor;
  const auto width = std::ssize(p);
  T normalizer = 0;
  model::cpu::kernels<T>().log_normalizers(p.data(), width, 1, width, &normalizer, /*exponentiate=*/true);
  return p;
}

struct Weighted {
  std::int32_t id;
  double p;
};

// Those of at least `least`, by id.
template <class T>
std::vector<Weighted> at_least(std::span<const T> p, T least) {
  std::vector<Weighted> chosen;
  for (std::size_t i = 0; i < p.size(); ++i) {
    if (p[i] >= least) chosen.push_back({static_cast<std::int32_t>(i), static_cast<double>(p[i])});
  }
  return chosen;
}

double sum_of(std::span<const Weighted> chosen) {
  return std::accumulate(chosen.begin(), chosen.end(), 0.0, [](double sum, const Weighted& w) { return sum + w.p; });
}

template <class T>
T kth_largest(std::span<const T> p, std::int64_t k) {
  std::vector<T> order(p.begin(), p.end());
  std::nth_element(order.begin(), order.begin() + (k - 1), order.end(), std::greater<>());
  return order[static_cast<std::size_t>(k - 1)];
}

// All that can be among the fewest whose sum reaches `share`: more than those, but in most cases far from all.
template <class T>
std::vector<Weighted> likely(std::span<const T> p, double share) {
  T least = *std::max_element(p.begin(), p.end());
  while (true) {
    least = static_cast<T>(least * 0x1p-6);
    std::vector<Weighted> chosen = at_least(p, least);
    if (sum_of(chosen) >= share || chosen.size() == p.size() || least == 0) return chosen;
  }
}

// The fewest, the likeliest first, whose probabilities reach `share`, by id.
void keep_share(std::vector<Weighted>& chosen, double share) {
  std::sort(chosen.begin(), chosen.end(),
            [](const Weighted& a, const Weighted& b) { return a.p != b.p ? a.p > b.p : a.id < b.id; });
  double before = 0;
  std::size_t count = 0;
  while (count < chosen.size() && (count == 0 || before < share)) before += chosen[count++].p;
  chosen.resize(count);
  std::sort(chosen.begin(), chosen.end(), [](const Weighted& a, const Weighted& b) { return a.id < b.id; });
}

}  // namespace

template <class T>
double log_normalizer(std::span<const T> logits_V) {
  const auto width = std::ssize(logits_V);
  T normalizer = 0;
  // Without `exponentiate` the row is only read.
  model::cpu::kernels<T>().log_normalizers(const_cast<T*>(logits_V.data()), width, 1, width, &normalizer, false);
  if (!std::isfinite(normalizer)) {
    throw_error("generate", "the model's logits are not finite numbers: its weights are broken");
  }
  return normalizer;
}

template <class T>
std::int32_t likeliest(std::span<const T> logits_V) {
  return static_cast<std::int32_t>(std::max_element(logits_V.begin(), logits_V.end()) - logits_V.begin());
}

template <class T>
void penalize_repetition(std::span<T> logits_V, std::span<const std::int32_t> seen, double penalty) {
  const T factor = static_cast<T>(penalty);
  for (const std::int32_t id : std::unordered_set<std::int32_t>(seen.begin(), seen.end())) {
    T& logit = logits_V[static_cast<std::size_t>(id)];
    logit = logit < 0 ? logit * factor : logit / factor;
  }
}

template <class T>
Candidates candidates(std::span<const T> logits_V, const DecodingOptions& options) {
  const std::vector<T> probabilities = probabilities_at(logits_V, options.temperature);
  const std::span<const T> p(probabilities);
  const bool by_rank = options.top_k > 0 && options.top_k < std::ssize(p);
  std::vector<Weighted> chosen = by_rank             ? at_least(p, kth_largest(p, options.top_k))
                                 : options.top_p < 1 ? likely(p, options.top_p)
                                                     : at_least(p, T(0));
  if (options.top_p < 1) keep_share(chosen, options.top_p * (by_rank ? sum_of(chosen) : 1.0));
  const double sum = sum_of(chosen);
  Candidates result;
  result.ids.reserve(chosen.size());
  result.probabilities.reserve(chosen.size());
  for (const Weighted& each : chosen) {
    result.ids.push_back(each.id);
    result.probabilities.push_back(each.p / sum);
  }
  return result;
}

std::int32_t draw(const Candidates& candidates, RandomStream& stream) {
  double left = stream.uniform();
  std::size_t last = 0;  // the last that can be drawn at all, should rounding leave something over
  for (std::size_t i = 0; i < candidates.ids.size(); ++i) {
    if (candidates.probabilities[i] == 0) continue;
    last = i;
    left -= candidates.probabilities[i];
    if (left < 0) break;
  }
  return candidates.ids[last];
}

template double log_normalizer<float>(std::span<const float>);
template double log_normalizer<double>(std::span<const double>);
template std::int32_t likeliest<float>(std::span<const float>);
template std::int32_t likeliest<double>(std::span<const double>);
template void penalize_repetition<float>(std::span<float>, std::span<const std::int32_t>, double);
template void penalize_repetition<double>(std::span<double>, std::span<const std::int32_t>, double);
template Candidates candidates<float>(std::span<const float>, const DecodingOptions&);
template Candidates candidates<double>(std::span<const double>, const DecodingOptions&);

}  // namespace rrhf::generate
