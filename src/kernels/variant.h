#pragma once

#include <span>

#include "core/cpu.h"

/// Wraps the rows of a table of variants that only x86 builds with vector kernels have.
#if defined(__x86_64__) && !defined(LAMINA_SCALAR_BUILD)
#define LAMINA_X86_ROWS(...) __VA_ARGS__
#else
#define LAMINA_X86_ROWS(...)
#endif

namespace lamina::kernels {

/// The last row (tables go from weak to strong) whose `isa` is allowed here; row 0 is scalar and always is.
template <typename Row>
const Row& strongest_row(std::span<const Row* const> rows) {
  const Row* best = rows.front();
  for (const Row* row : rows) {
    if (core::isa_allowed(row->isa)) best = row;
  }
  return *best;
}

}  // namespace lamina::kernels
