#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "codec/codec.h"
#include "codec/encode.h"
#include "core/result.h"
#include "core/thread_pool.h"
#include "stats/gram.h"

namespace lamina::compress {

/// How errors are made up for. Frantar et al. 2022, GPTQ (arXiv 2210.17323).
struct GptqOptions {
  /// In which order a row's numbers are rounded. Those that come later make up for those before.
  enum class Order {
    kAct,    ///< largest mean square of the input first
    kBlock,  ///< blocks by their largest input, whole; within a block as kAct
    kNone,   ///< as they lie
  };
  double damp = 0.01;  ///< share of the mean square of all inputs that is added to each one's
  Order order = Order::kAct;
};

/// What rounding needs to know of the inputs: with H the damped mean of x x^T in the order of rounding, H = R R^T, R
/// upper triangular. The loss (w - q) H (w - q)^T is then the sum over j of R_jj^2 (w_j + c_j - q_j)^2 with
/// c_j = sum over i < j of (w_i - q_i) R_ij / R_jj, so each number in turn is rounded from w_j + c_j.
class GptqFactor {
 public:
  /// Memory while it works: 8 bytes for each pair of inputs; afterwards 2. kInvalid: H is not positive, which more
  /// damping mends.
  static core::Result<GptqFactor> make(const stats::Gram& gram, int64_t block, const GptqOptions& options,
                                       core::ThreadPool& pool);

  int64_t inputs() const { return static_cast<int64_t>(order_.size()); }
  /// The input that is rounded at each place.
  std::span<const int32_t> order() const { return order_; }
  /// R_ij / R_jj for i below `place`.
  const float* row(int64_t place) const { return factor_.data() + place * (place - 1) / 2; }
  /// R_jj^2 at each place.
  std::span<const double> losses() const { return losses_; }
  /// What damping adds to the mean square of each input.
  double damping() const { return damping_; }
  /// The mean square of each input, what an error costs where nothing makes up for it.
  std::span<const float> weights() const { return weights_; }

 private:
  std::vector<int32_t> order_;
  std::vector<float> factor_;
  std::vector<double> losses_;
  double damping_ = 0;
  std::vector<float> weights_;
};

/// Rows of a matrix and where their encoded forms go.
struct GptqRows {
  int64_t count = 0;
  std::function<void(int64_t row, float* out)> read{};
  std::byte* out = nullptr;
  double* errors = nullptr;  ///< [count]: each row's squared error
  double* losses = nullptr;  ///< [count]: each row's mean squared error of its output, inputs as in the Gram matrix
};

/// A row that could not be encoded; row -1: none.
struct GptqFault {
  int64_t row = -1;
  codec::RowFault fault{};
};

/// Encodes rows in `codec`, which has a grid, on all threads. The scales of a block are searched, weighed by weights(),
/// when the first of its numbers is reached, for its numbers as made up for so far. Each row's bits depend on that row
/// and the factor alone. Returns the lowest row with a number that is not finite, or too large.
GptqFault gptq_round(const GptqFactor& factor, const codec::Codec& codec, core::ThreadPool& pool, const GptqRows& rows);

}  // namespace lamina::compress
