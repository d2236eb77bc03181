// What loops of our own are compiled for, each set in a source of its own, and chosen at run time.
#pragma once

namespace rrhf {

enum class InstructionSet { baseline, avx2, avx512 };  ///< avx2 with FMA; avx512: F, DQ, VL and BW

/// Whether this machine runs it.
inline bool is_present(InstructionSet set) {
#ifdef __x86_64__
  switch (set) {
    case InstructionSet::avx512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
    case InstructionSet::avx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case InstructionSet::baseline:
      break;
  }
#endif
  return set == InstructionSet::baseline;
}

/// The best that this machine runs.
inline InstructionSet best_present() {
  static const InstructionSet best = is_present(InstructionSet::avx512) ? InstructionSet::avx512
                                     : is_present(InstructionSet::avx2) ? InstructionSet::avx2
                                                                        : InstructionSet::baseline;
  return best;
}

}  // namespace rrhf
