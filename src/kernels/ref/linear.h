#pragma once

#include "kernels/linear.h"

/// The order of additions that every variant of linear() must match bit for bit, on rows in file layout:
///
///   float     y = 0; for k ascending: y = fma(w_k, x_k, y)
///   bfloat16  y = 0; for pairs of inputs ascending: y = fma(w_odd, x_odd, y), then y = fma(w_even, x_even, y)
///   block 32  y = 0; for each 32 inputs: p = float(S) * d_w; with minimums p = fma(float(B), m_w, p);
///             y = fma(p, d_x, y)
///   super     y = 0; for each 256 inputs: y = fma(float(S1), d_w * d_x, y);
///             with minimums y = fma(-float(S2), dmin * d_x, y)
///
/// S = sum of w x and B = sum of x over integers of the block, S1 and S2 = the same times the integer scales and
/// minimums of the sub-blocks, all exact. At the end + bias, then + the y that was there when accumulating.
namespace lamina::kernels::ref {

/// As kernels::linear for all panels, but `weights` are rows in file layout. Codecs without a panel format are decoded.
void linear(const LinearArgs& args, const std::byte* weights);

}  // namespace lamina::kernels::ref
