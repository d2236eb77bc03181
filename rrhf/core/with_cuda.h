// What this program was built for.
#pragma once

namespace rrhf {

/// True in a build for NVIDIA GPUs (option RRHF_CUDA). What is declared for it everywhere is defined in such builds
/// alone, in sources named cuda_*: callers ask this first, at compile time.
inline constexpr bool with_cuda = RRHF_WITH_CUDA;

}  // namespace rrhf
