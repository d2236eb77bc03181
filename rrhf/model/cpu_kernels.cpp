#include "rrhf/model/cpu_kernels.h"

#include <array>
#include <string_view>

#include "rrhf/core/instruction_set.h"

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

struct Compiled {
  std::string_view name;
  InstructionSet needs;
  const Kernels<float>& (*float_kernels)();
  const Kernels<double>& (*double_kernels)();
};

// The best first.
const auto& all_compiled() {
  static const std::array all{
#ifdef __x86_64__
      Compiled{"avx512", InstructionSet::avx512, avx512::float_kernels, avx512::double_kernels},
      Compiled{"avx2", InstructionSet::avx2, avx2::float_kernels, avx2::double_kernels},
#endif
      Compiled{"baseline", InstructionSet::baseline, baseline::float_kernels, baseline::double_kernels}};
  return all;
}

template <class T>
const Kernels<T>& of(const Compiled& compiled) {
  if constexpr (sizeof(T) == sizeof(float)) {
    return compiled.float_kernels();
  } else {
    return compiled.double_kernels();
  }
}

}  // namespace

template <class T>
const Kernels<T>* kernels_named(const char* name) {
  for (const Compiled& compiled : all_compiled()) {
    if (is_present(compiled.needs) && compiled.name == name) return &of<T>(compiled);
  }
  return nullptr;
}

template <class T>
const Kernels<T>& kernels() {
  static const Kernels<T>& best = []() -> const Kernels<T>& {
    for (const Compiled& compiled : all_compiled()) {
      if (compiled.needs == best_present()) return of<T>(compiled);
    }
    return of<T>(all_compiled().back());
  }();
  return best;
}

template const Kernels<float>* kernels_named<float>(const char*);
template const Kernels<double>* kernels_named<double>(const char*);
template const Kernels<float>& kernels<float>();
template const Kernels<double>& kernels<double>();

}  // namespace rrhf::model::cpu
