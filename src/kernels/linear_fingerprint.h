#pragma once

#include <cstdint>

#include "kernels/linear.h"

namespace lamina::kernels {

/// Checksum of the panels that pack_panels makes of some fixed rows in this layout: layouts whose panels differ, on
/// this machine or another, in this version or another, have different ones.
uint64_t layout_fingerprint(const WeightLayout& layout);

}  // namespace lamina::kernels
