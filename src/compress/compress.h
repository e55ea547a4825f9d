#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "compress/bits.h"
#include "compress/merge.h"
#include "compress/output_tensor.h"
#include "compress/pass.h"
#include "core/result.h"
#include "core/thread_pool.h"

namespace lamina::compress {

struct CompressOptions {
  std::filesystem::path model{};
  std::filesystem::path out{};  ///< ends in .gguf: a GGUF file; else a folder in the Hugging Face layout
  std::string recipe{};
  std::filesystem::path statistics{};  ///< of `lamina stats`: what errors cost, for formats that search; empty: none
  /// Texts that passes run the model on, one after another.
  std::vector<std::filesystem::path> calibration{};
  int64_t target_bytes = 0;  ///< of all tensors, what the recipe's `bits` has to keep within; 0: none
  int64_t split_bytes = 0;   ///< tensor bytes of one file at most; 0: one file
  bool force = false;        ///< replaces `out` if it exists
  bool resume = false;       ///< keeps finished tensors in `out`.unfinished until the end, and uses those there
  MergeSources merge{};      ///< models to be merged into it first; empty: none
};

struct CompressReport {
  std::string architecture;
  std::string recipe;      ///< canonical
  std::string statistics;  ///< checksums of the calibration texts; empty without
  std::vector<PassReport> passes;
  std::vector<BitsReport> bits;  ///< of each `bits` clause
  std::vector<TensorReport> tensors;
  std::vector<std::string> notes;
  std::vector<std::string> files;  ///< what was written
  int64_t bytes_before = 0;        ///< of all tensors of the source
  int64_t bytes = 0;
};

/// Told how many of the bytes to write are done; returning false cancels.
using Progress = std::function<bool(int64_t done, int64_t total)>;

/// Writes the model again: into the container that the output's name asks for, changed by the recipe's passes (pass.h),
/// with the weights' codecs that it asks for. Tensors stream through bounded memory. Everything is written beside `out`
/// under a temporary name, opened and built as a model, then renamed; on an error nothing is left, or with `resume` the
/// tensors that were finished. kInvalid: `out` exists or lies inside the model's folder, the recipe is wrong, a number
/// is not finite, statistics of another model; kUnsupported: something that the other container cannot say.
core::Result<CompressReport> compress(const CompressOptions& options, core::ThreadPool& pool, const Progress& progress);

}  // namespace lamina::compress
