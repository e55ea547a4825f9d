#pragma once

#include <span>

#include "stats/gram.h"

namespace lamina::compress {

/// What errors in the weights of one output cost, each row of `errors` [out.size(), inputs] for itself: with a Gram
/// matrix, which is read once for all of them, the mean squared error of the output, else the same as if inputs did not
/// hang together, by their mean squares; with neither, the squared error of the weights.
void output_errors(std::span<const double> errors, const stats::Gram* gram, const float* squares,
                   std::span<double> out);

}  // namespace lamina::compress
