#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "format/model_files.h"
#include "stats/attention_stats.h"
#include "stats/expert_stats.h"
#include "stats/gram.h"

namespace lamina::stats {

/// What the matrices of one tensor read. Totals, so that parts of a text add up.
struct MatrixStats {
  std::string tensor;  ///< its name in the file
  int64_t inputs = 0;
  std::vector<double> squares{};  ///< [matrices, inputs]: sums of squared inputs over rows
  std::vector<int64_t> rows{};    ///< [matrices] that were read; of experts, those that they were chosen for
  std::vector<int> grams{};       ///< [matrices]: which of Statistics::grams; -1: none; empty: none at all

  int64_t matrices() const { return static_cast<int64_t>(rows.size()); }
  /// Mean squares of one matrix's inputs; of an expert that was never chosen, those of all experts together; empty
  /// where nothing was read.
  std::vector<float> importance(int64_t matrix) const;
};

/// What one part of a layer does to the stream, summed over rows.
struct PartStats {
  int layer = 0;
  std::string role;  ///< "attn", "mlp", ..., "layer" for all of its parts together
  int64_t rows = 0;
  double cosine = 0;         ///< of the stream before and after
  double contribution = 0;   ///< the length of what is added, by that of the stream before
  double length_before = 0;  ///< root mean square of the stream
  double length_after = 0;
  /// Of "layer" only, where it was asked for: summed over disturbed_rows, the divergence (nats) that noise in the
  /// stream after the layer brings, over the square of the noise's relative length.
  double sensitivity = 0;
  int64_t disturbed_rows = 0;
  /// Rows for which it was void (Shemiranifar 2025, arXiv 2505.14467): it changed the stream's length by less than
  /// kVoidShare of the largest change by the parts of its role so far; -1: not counted.
  int64_t voids = 0;
};
inline constexpr double kVoidShare = 0.8;

/// What one pass over calibration text saw of a model.
struct Statistics {
  std::string model;    ///< fingerprint() of the files
  std::string texts{};  ///< checksums of the texts, joined by "+"
  int64_t tokens = 0;
  std::vector<MatrixStats> matrices{};
  std::vector<PartStats> parts{};
  std::vector<Gram> grams{};                ///< one for each distinct input of matrices, when they were asked for
  std::vector<ExpertStats> experts{};       ///< one for each layer that has some
  std::vector<AttentionStats> attention{};  ///< one for each layer that attends, when it was asked for

  /// The Gram matrix of what that matrix reads, or null.
  const Gram* gram(const MatrixStats& stats, int64_t matrix) const;
  const MatrixStats* find(std::string_view tensor) const;
  /// Adds what another part of the text showed. kInvalid: of another model, with other matrices, or only one of them
  /// with Gram matrices or attention.
  core::Status merge(const Statistics& other);
  /// kInvalid names what differs when these are not statistics of that model. Where they do not say of which they are,
  /// each of their tensors must be one of the model's, with as many inputs.
  core::Status check_model(const format::ModelFiles& files, std::string_view place) const;
};

/// What tells a model's weights from others': a checksum over all tensors' names, shapes, formats and first numbers.
/// Moving or copying files does not change it.
std::string fingerprint(const format::ModelFiles& files);

/// Writes statistics as a safetensors file, or, when the name ends in .gguf, as llama.cpp's importance matrix
/// (imatrix.h), whole or not at all.
core::Status save(const Statistics& statistics, const std::filesystem::path& path);
/// Reads either. kCorrupt where the file is not one that save() wrote.
core::Result<Statistics> load(const std::filesystem::path& path);

}  // namespace lamina::stats
