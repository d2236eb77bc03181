#include "rrhf/model/cpu_kernels.h"

#include <array>
#include <string_view>

namespace rrhf::model::cpu {

// One pair of accessors a source file that includes cpu_kernels_impl.h.
namespace baseline {
const Kernels<float>& float_kernels();
const Kernels<double>& double_kernels();
}  // namespace baseline
#ifdef __x86_64__
namespace avx2 {
const Kernels<float>& float_kernels();
const Kernels<double>& double_kernels();
}  // namespace avx2
namespace avx512 {
const Kernels<float>& float_kernels();
const Kernels<double>& double_kernels();
}  // namespace avx512
#endif

namespace {

struct InstructionSet {
  std::string_view name;
  bool present;
  const Kernels<float>& (*float_kernels)();
  const Kernels<double>& (*double_kernels)();
};

// The best first.
const auto& instruction_sets() {
  static const std::array sets{
#ifdef __x86_64__
      InstructionSet{"avx512",
                     __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw"),
                     avx512::float_kernels, avx512::double_kernels},
      InstructionSet{"avx2", __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"), avx2::float_kernels,
                     avx2::double_kernels},
#endif
      InstructionSet{"baseline", true, baseline::float_kernels, baseline::double_kernels}};
  return sets;
}

template <class T>
const Kernels<T>& of(const InstructionSet& set) {
  if constexpr (sizeof(T) == sizeof(float)) {
    return set.float_kernels();
  } else {
    return set.double_kernels();
  }
}

}  // namespace

template <class T>
const Kernels<T>* kernels_named(const char* name) {
  for (const InstructionSet& set : instruction_sets()) {
    if (set.present && set.name == name) return &of<T>(set);
  }
  return nullptr;
}

template <class T>
const Kernels<T>& kernels() {
  static const Kernels<T>& best = []() -> const Kernels<T>& {
    for (const InstructionSet& set : instruction_sets()) {
      if (set.present) return of<T>(set);
    }
    return of<T>(instruction_sets().back());
  }();
  return best;
}

template const Kernels<float>* kernels_named<float>(const char*);
template const Kernels<double>* kernels_named<double>(const char*);
template const Kernels<float>& kernels<float>();
template const Kernels<double>& kernels<double>();

}  // namespace rrhf::model::cpu
