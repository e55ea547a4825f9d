#include "compress/scale_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "codec/encode.h"
#include "compress/output_error.h"

namespace lamina::compress {

using core::Result;

namespace {

/// Rows of one reader, and of a whole site, on which errors are measured.
constexpr int64_t kReaderRows = 64;
constexpr int64_t kSiteRows = 256;

Result<ReaderInputs> inputs_of(const PassUse& use, const Piece& reader, const ModelEdit& edit) {
  ReaderInputs inputs{.squares = edit.importance(reader)};
  if (inputs.squares.empty()) {
    return use.refuse(
        fmt::format("scales are chosen by what matrices read, and nothing is known of tensor {}: make statistics with "
                    "`lamina stats` and give them by --stats",
                    reader.from.tensor));
  }
  const stats::Statistics& statistics = *edit.statistics();
  const stats::MatrixStats* found = statistics.find(edit.model().weights().file_name(reader.from.tensor));
  if (found != nullptr) inputs.gram = statistics.gram(*found, reader.from.index);
  if (inputs.gram != nullptr && inputs.gram->rows() == 0) inputs.gram = nullptr;
  return inputs;
}

void add_weights(const Matrix& matrix, int64_t block, StudiedSite& site) {
  for (int64_t row = 0; row < matrix.outputs; ++row) {
    const float* numbers = matrix.row(row);
    for (int64_t first = 0; first < matrix.inputs; first += block) {
      const int64_t end = std::min(first + block, matrix.inputs);
      float peak = 0;
      for (int64_t i = first; i < end; ++i) peak = std::max(peak, std::fabs(numbers[i]));
      for (int64_t i = first; i < end; ++i) {
        const auto source = static_cast<size_t>(site.place.source(i));
        const double size = double{std::fabs(numbers[i])};
        site.mean[source] += peak > 0 ? size / double{peak} : 0;
        site.largest[source] = std::max(site.largest[source], size);
      }
    }
  }
}

/// Matrices that are stored in the format; routers and gates of shared experts keep theirs.
bool is_stored(const Piece& reader) {
  return reader.matrix && reader.key != "router";
}

}  // namespace

Result<StudiedSite> study_site(const PassUse& use, const ScaleSite& place, const ModelEdit& edit, int64_t block) {
  const auto sources = static_cast<size_t>(place.sources());
  StudiedSite site{.place = place, .mean = std::vector<double>(sources), .largest = std::vector<double>(sources)};
  std::vector<double> squares(sources);
  const int64_t most = std::clamp<int64_t>(kSiteRows / std::ssize(place.readers), kReaderRows / 8, kReaderRows);
  double rows = 0;
  for (const Piece* reader : place.readers) {
    if (!is_stored(*reader)) continue;
    LAMINA_ASSIGN(ReaderInputs inputs, inputs_of(use, *reader, edit));
    LAMINA_ASSIGN(const Matrix matrix, edit.read(*reader));
    for (int64_t i = 0; i < place.inputs(); ++i)
      squares[static_cast<size_t>(place.source(i))] += double{inputs.squares[static_cast<size_t>(i)]};
    add_weights(matrix, block, site);
    rows += static_cast<double>(matrix.outputs * place.repeat);
    const int64_t count = std::min(most, matrix.outputs);
    for (int64_t s = 0; s < count; ++s) {
      const float* row = matrix.row(s * matrix.outputs / count);
      site.rows.push_back({.numbers = {row, row + matrix.inputs}, .inputs = site.inputs.size()});
    }
    site.inputs.push_back(std::move(inputs));
  }
  for (double& sum : site.mean) sum /= rows;
  const auto sums = static_cast<double>(std::ssize(site.inputs) * place.repeat);
  for (const double sum : squares) site.strength.push_back(std::sqrt(sum / sums));
  return site;
}

std::vector<float> balanced_scales(const std::vector<double>& raw) {
  constexpr double kLeast = 1e-4;
  std::vector<double> scales = raw;
  for (double& scale : scales) scale = std::isfinite(scale) ? std::max(scale, kLeast) : 1;
  const auto [low, high] = std::ranges::minmax(scales);
  const double middle = std::sqrt(low * high);
  std::vector<float> out;
  for (const double scale : scales) out.push_back(static_cast<float>(scale / middle));
  return out;
}

/// A thread's memory for one row.
struct ScaleErrors::Buffers {
  std::vector<float> scaled{};
  std::vector<float> importance{};
  std::vector<float> decoded{};
  std::vector<std::byte> bytes{};
  std::vector<double> differences{};  ///< [ways and the row itself, inputs]
  std::vector<double> costs{};
};

ScaleErrors::ScaleErrors(const StudiedSite& site, const codec::Codec& codec, std::span<const std::vector<float>> ways)
    : site_(site), codec_(codec), ways_(ways), errors_(site.rows.size() * ways.size()), whole_(site.rows.size()) {}

void ScaleErrors::measure(std::span<const size_t> chosen, size_t share, core::ThreadPool& pool) {
  pool.run([&](int index, int threads) {
    Buffers buffers;
    const auto step = static_cast<size_t>(threads) * kShares;
    for (size_t row = static_cast<size_t>(index) * kShares + share; row < site_.rows.size(); row += step)
      measure_row(chosen, row, buffers);
  });
}

void ScaleErrors::measure_row(std::span<const size_t> chosen, size_t row, Buffers& buffers) {
  const SampleRow& sample = site_.rows[row];
  const size_t inputs = sample.numbers.size();
  for (auto* list : {&buffers.scaled, &buffers.importance, &buffers.decoded}) list->resize(inputs);
  buffers.bytes.resize(static_cast<size_t>(codec_.format.row_bytes(std::ssize(sample.numbers))));
  buffers.differences.resize((chosen.size() + 1) * inputs);
  buffers.costs.resize(chosen.size() + 1);
  for (size_t c = 0; c < chosen.size(); ++c)
    encode_way(chosen[c], sample, buffers, std::span(buffers.differences).subspan(c * inputs, inputs));
  std::ranges::copy(sample.numbers, buffers.differences.end() - std::ssize(sample.numbers));
  const ReaderInputs& reads = site_.inputs[sample.inputs];
  output_errors(buffers.differences, reads.gram, reads.squares.data(), buffers.costs);
  for (size_t c = 0; c < chosen.size(); ++c) {
    const double cost = buffers.costs[c];
    errors_[row * ways_.size() + chosen[c]] = std::isnan(cost) ? std::numeric_limits<double>::infinity() : cost;
  }
  whole_[row] = buffers.costs.back();
}

/// What is lost of the row's numbers; not a number where they cannot be stored.
void ScaleErrors::encode_way(size_t way, const SampleRow& row, Buffers& buffers, std::span<double> difference) const {
  const std::vector<float>& scales = ways_[way];
  const std::vector<float>& squares = site_.inputs[row.inputs].squares;
  const auto scale = [&](size_t i) { return scales[static_cast<size_t>(site_.place.source(static_cast<int64_t>(i)))]; };
  for (size_t i = 0; i < difference.size(); ++i) {
    buffers.scaled[i] = row.numbers[i] * scale(i);
    buffers.importance[i] = squares[i] / (scale(i) * scale(i));
  }
  double ignored = 0;
  const codec::RowFault fault =
      codec::encode_row(codec_, buffers.scaled.data(), std::ssize(row.numbers), buffers.bytes.data(),
                        buffers.decoded.data(), ignored, buffers.importance.data());
  if (fault.kind != codec::RowFault::Kind::kNone) {
    std::ranges::fill(difference, std::numeric_limits<double>::quiet_NaN());
    return;
  }
  for (size_t i = 0; i < difference.size(); ++i) difference[i] = double{row.numbers[i] - buffers.decoded[i] / scale(i)};
}

double ScaleErrors::sum(size_t way) const {
  double all = 0;
  for (size_t row = 0; row < site_.rows.size(); ++row) all += errors_[row * ways_.size() + way];
  return all;
}

double ScaleErrors::whole() const {
  return std::accumulate(whole_.begin(), whole_.end(), 0.0);
}

}  // namespace lamina::compress
