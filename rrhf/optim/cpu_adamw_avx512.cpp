#ifdef __x86_64__
#define RRHF_ISA avx512
#include "rrhf/optim/cpu_adamw_impl.h"
#endif
