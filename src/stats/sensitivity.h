#pragma once

#include "stats/collector.h"

namespace lamina::stats {

/// How a model is disturbed to see which of its layers matter.
struct SensitivityOptions {
  int64_t window = 512;  ///< tokens read together
  int64_t windows = 2;   ///< that are read, from the text's start
  double noise = 0.05;   ///< length of the noise beside the stream's
};

/// Adds to PartStats::sensitivity of each layer what noise in the stream after it does to the model's predictions: the
/// mean divergence from those without noise (nats), over the square of the noise's relative length. For small noise
/// that is a number of the layer alone. The noise is always the same. Takes one run for each layer beside one without.
/// kUnsupported: a model that predicts no tokens; kInvalid: less than one window of text, or no statistics of a layer;
/// kCancelled.
core::Status add_sensitivity(run::Runner& runner, core::ThreadPool& pool, std::span<const int32_t> tokens,
                             const SensitivityOptions& options, const PassProgress& progress, Statistics& statistics);

}  // namespace lamina::stats
