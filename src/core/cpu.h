#pragma once

#include <span>
#include <string>
#include <string_view>

#include "core/result.h"

namespace lamina::core {

/// Instruction sets with kernels of their own, weakest first. A machine that has one has all that its kernels need.
enum class Isa { kScalar, kAvx2, kAvx2Vnni, kAvx512, kAvx512Vnni, kAvx512Bf16, kAmxInt8, kAmxBf16 };

std::string_view isa_name(Isa isa);
std::span<const Isa> all_isas();

/// Whether this processor (and its kernel) can run kernels of `isa`, whatever LAMINA_ISA says. The first call asks the
/// system for tile registers on behalf of all threads.
bool cpu_has(Isa isa);
/// Whether kernels of `isa` may be chosen: cpu_has and not above the limit that LAMINA_ISA sets.
bool isa_allowed(Isa isa);
/// Why kernels of `isa` may not be chosen, in words; empty if they may.
std::string isa_gap(Isa isa);
/// Checks LAMINA_ISA: an error that lists the names if it is unknown or this machine lacks it. Call once at start.
Status check_forced_isa();
/// The processor's name as the system tells it.
std::string cpu_name();

}  // namespace lamina::core
