#ifdef __x86_64__
#define RRHF_ISA avx2
#define RRHF_VECTOR_BYTES 32
#include "rrhf/model/cpu_kernels_impl.h"
#endif
