#pragma once

#include "core/cpu.h"

namespace lamina::core {

#if defined(__x86_64__) && !defined(LAMINA_SCALAR_BUILD)
/// `work` and all that it calls, compiled for vectors of 256 bits.
template <typename Work>
[[gnu::target("avx2"), gnu::flatten]] void run_wide(const Work& work) {
  work();
}
#endif

/// Runs work() compiled for the widest vectors that this processor has and LAMINA_ISA allows, for loops outside of the
/// kernels that their folder's variants do not reach. No sum changes its order, so no bit changes either.
template <typename Work>
void with_wide_vectors(const Work& work) {
#if defined(__x86_64__) && !defined(LAMINA_SCALAR_BUILD)
  if (isa_allowed(Isa::kAvx2)) return run_wide(work);
#endif
  work();
}

}  // namespace lamina::core
