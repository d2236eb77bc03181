#define RRHF_ISA baseline
#define RRHF_VECTOR_BYTES 16
#include "rrhf/model/cpu_kernels_impl.h"
