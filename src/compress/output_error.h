#pragma once

#include <span>

#include "stats/gram.h"

namespace lamina::compress {

/// What an error `e` in the weights of one output costs: with a Gram matrix the mean squared error of the output, else
/// the same as if inputs did not hang together, by their mean squares; with neither, the squared error of the weights.
double output_error(std::span<const float> e, const stats::Gram* gram, const float* squares);

}  // namespace lamina::compress
