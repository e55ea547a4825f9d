#pragma once

#include <span>
#include <vector>

#include "codec/codec.h"
#include "compress/scale_sites.h"
#include "stats/gram.h"

namespace lamina::compress {

/// What is known of what a reader reads.
struct ReaderInputs {
  std::vector<float> squares{};       ///< their mean squares
  const stats::Gram* gram = nullptr;  ///< null: not known
};

/// A row of a reader, on which errors are measured.
struct SampleRow {
  std::vector<float> numbers{};
  size_t inputs = 0;  ///< which of StudiedSite::inputs
};

/// What a search of a site's scales goes by. Matrices are read one after another; sampled rows are kept.
struct StudiedSite {
  const ScaleSite& place;
  std::vector<ReaderInputs> inputs{};
  std::vector<double> strength{};  ///< root mean squares of the inputs that come from each source
  std::vector<double> mean{};      ///< of weights that read each source: the magnitude beside the largest of its block
  std::vector<double> largest{};   ///< the largest magnitude of these weights
  std::vector<SampleRow> rows{};
};

/// `block`: numbers of a row that share a scale. kInvalid: nothing is known of what a reader reads.
core::Result<StudiedSite> study_site(const PassUse& use, const ScaleSite& place, const ModelEdit& edit, int64_t block);

/// Scales of no direction: the largest and the smallest are each other's inverse, none is too small.
std::vector<float> balanced_scales(const std::vector<double>& raw);

/// Squared errors of a site's sampled outputs for several scales: columns are scaled, stored in a format and scaled
/// back. A row's errors are those of that row alone, whatever else is measured and on how many threads.
class ScaleErrors {
 public:
  /// Rows are measured by shares: those whose number leaves the same rest.
  static constexpr size_t kShares = 8;

  /// All of these must outlive this; `ways` has the scales of each way, one for each source.
  ScaleErrors(const StudiedSite& site, const codec::Codec& codec, std::span<const std::vector<float>> ways);

  /// Measures the chosen ways on one share of the rows.
  void measure(std::span<const size_t> chosen, size_t share, core::ThreadPool& pool);
  /// Of the rows measured so far.
  double sum(size_t way) const;
  /// The mean squared output of the rows of the shares measured so far, without any error.
  double whole() const;

 private:
  struct Buffers;
  void measure_row(std::span<const size_t> chosen, size_t row, Buffers& buffers);
  void encode_way(size_t way, const SampleRow& row, Buffers& buffers, std::span<double> difference) const;

  const StudiedSite& site_;
  const codec::Codec& codec_;
  std::span<const std::vector<float>> ways_;
  std::vector<double> errors_;  ///< [rows, ways]
  std::vector<double> whole_;   ///< by row
};

}  // namespace lamina::compress
