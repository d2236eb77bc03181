#define RRHF_ISA baseline
#include "rrhf/optim/cpu_adamw_impl.h"
