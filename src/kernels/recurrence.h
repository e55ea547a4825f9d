#pragma once

#include <cstdint>
#include <span>

#include "core/cpu.h"

namespace lamina::kernels {

/// A convolution over the last `width` rows of each channel, from rows at consecutive positions of one sequence.
struct ConvolutionArgs {
  int64_t rows = 0;
  int64_t channels = 0;
  int64_t width = 0;
  const float* x = nullptr;  ///< [rows, channels], rows x_stride apart
  int64_t x_stride = 0;
  const float* weights = nullptr;  ///< [width, channels], rows weight_stride apart, that of the oldest row first
  int64_t weight_stride = 0;
  const float* bias = nullptr;  ///< [channels], or null
  /// [width - 1, channels], rows state_stride apart: the rows before the first, oldest first; becomes those before the
  /// row after the last.
  float* state = nullptr;
  int64_t state_stride = 0;
  float* out = nullptr;  ///< [rows, channels], rows out_stride apart; not x
  int64_t out_stride = 0;
};

/// out[t] = bias, then fma(weights[k], x[t - width + 1 + k], out), k ascending.
void convolve(const ConvolutionArgs& args);

/// The linear recurrence of one head of a state-space layer, over rows at consecutive positions of one sequence.
struct ScanArgs {
  int64_t rows = 0;
  int64_t head_size = 0;
  int64_t state_size = 0;
  const float* x = nullptr;  ///< [rows, head_size], rows x_stride apart
  int64_t x_stride = 0;
  const float* b = nullptr;  ///< [rows, state_size], rows bc_stride apart: how x enters the state
  const float* c = nullptr;  ///< likewise: how the state is read
  int64_t bc_stride = 0;
  const float* steps = nullptr;   ///< of time, one a row, step_stride apart
  const float* decays = nullptr;  ///< of the state, likewise
  int64_t step_stride = 0;
  float skip = 0;          ///< factor of x in the output
  float* state = nullptr;  ///< [state_size, head_size], moved on
  float* out = nullptr;    ///< [rows, head_size], rows out_stride apart
  int64_t out_stride = 0;
};

/// Row by row: u = x * step; for n ascending, h[n] = fma(u, b[n], h[n] * decay) and y = fma(h[n], c[n], y) from y = 0;
/// out = fma(skip, x, y). Rows in several calls give the same bits. Dao and Gu 2024, section 2 (scalar decay).
void scan(const ScanArgs& args);

/// A row of the table of recurrent kernels. All rows give the same bits.
struct RecurrenceVariant {
  core::Isa isa = core::Isa::kScalar;
  decltype(&kernels::convolve) convolve = nullptr;
  decltype(&kernels::scan) scan = nullptr;
};

/// Weakest first; rows that this machine lacks are listed too, so check core::cpu_has before calling one.
std::span<const RecurrenceVariant* const> recurrence_variants();

namespace ref {
extern const RecurrenceVariant kRecurrence;
}
namespace cpu {
extern const RecurrenceVariant kRecurrenceAvx2;
extern const RecurrenceVariant kRecurrenceAvx512;
}  // namespace cpu

}  // namespace lamina::kernels
