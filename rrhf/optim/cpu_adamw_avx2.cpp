#ifdef __x86_64__
#define RRHF_ISA avx2
#include "rrhf/optim/cpu_adamw_impl.h"
#endif
