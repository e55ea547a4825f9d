#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "compress/edit.h"
#include "core/result.h"
#include "core/thread_pool.h"

namespace lamina::compress {

/// What an MLP read and what its units held, token by token.
struct MlpRows {
  int64_t count = 0;
  Matrix read{};               ///< [count, hidden]: what gate, up and a router read
  Matrix held{};               ///< [count, units]: what down reads
  std::vector<bool> judges{};  ///< rows that fits are judged by, not made of
};

/// An MLP cut into experts of one size, of which a token uses some.
struct ExpertSplit {
  std::vector<std::vector<int64_t>> units{};  ///< of each expert, ascending
  Matrix router{};                            ///< [experts, hidden]
  Matrix down{};      ///< [hidden, units] as the units were, fitted to do the work of those that are not used
  double chosen = 0;  ///< on rows that judge: of the squared lengths that experts add, the share of those that are used
  double most = 0;    ///< that of a router that knows them
  double lost = 0;    ///< on rows that judge: share of the square of the outputs
  double unfitted = 0;  ///< that before down was fitted
};

/// Experts are units that act together: clusters of one size of what units add, in size, token by token. The router is
/// the least squares of the length of what each expert adds. Its scores are small, so that all shares are nearly one
/// over the experts used, by which what they make is to be multiplied again. kInvalid: too little text.
core::Result<ExpertSplit> split_experts(const MlpRows& rows, const Matrix& down, int64_t experts, int64_t used,
                                        core::ThreadPool& pool);

}  // namespace lamina::compress
