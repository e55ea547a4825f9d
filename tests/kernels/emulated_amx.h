#pragma once

#include <span>

#include "kernels/linear.h"

namespace lamina::kernels::testing {

/// What the vector parts of tile kernels need.
inline constexpr core::Isa kEmulatorNeeds = core::Isa::kAvx512Vnni;

/// The AMX kernels of the table with tiles in plain C++, for any number of rows. Empty in builds without vector
/// kernels.
std::span<const LinearVariant> emulated_block_amx();
std::span<const LinearVariant> emulated_super_amx();

}  // namespace lamina::kernels::testing
