#ifdef __x86_64__
#define RRHF_ISA avx512
#define RRHF_VECTOR_BYTES 64
#include "rrhf/model/cpu_kernels_impl.h"
#endif
