#pragma once

#include <span>

#include "core/thread_pool.h"

namespace lamina::run {

/// The mean over rows of logits of how far the predictions `to` are from `from`: Kullback-Leibler divergence in nats.
/// Each row is one thread's, and rows are summed in their order, so that the bits depend on the logits alone.
double mean_divergence(core::ThreadPool& pool, std::span<const float> from, std::span<const float> to, size_t rows);

}  // namespace lamina::run
