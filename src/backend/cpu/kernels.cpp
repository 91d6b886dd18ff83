#include "backend/cpu/kernels.h"

namespace jreg::backend::cpu {

// Defined in kernels/table.cpp, once per level.
namespace generic {
extern KernelTable const table;
}
#if defined(__x86_64__)
namespace v3 {
extern KernelTable const table;
}
namespace v4 {
extern KernelTable const table;
}
namespace v4_bf16 {
extern KernelTable const table;
}
#endif

std::vector<KernelTable const*> supported_kernels() {
  std::vector<KernelTable const*> tables{&generic::table};
#if defined(__x86_64__)
  __builtin_cpu_init();
  bool const v3_runs =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  bool const v4_runs = v3_runs && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                       __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                       __builtin_cpu_supports("avx512vl");
  if (v3_runs) tables.push_back(&v3::table);
  if (v4_runs) tables.push_back(&v4::table);
  if (v4_runs && __builtin_cpu_supports("avx512bf16")) tables.push_back(&v4_bf16::table);
#endif
  return tables;
}

}  // namespace jreg::backend::cpu
