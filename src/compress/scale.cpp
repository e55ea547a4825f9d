#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "codec/encode.h"
#include "codec/fallback.h"
#include "compress/output_error.h"
#include "compress/scale_sites.h"

namespace lamina::compress {

using core::Result;
using core::Status;

namespace {

/// Rows of one reader, and of a whole site, on which errors are measured.
constexpr int64_t kReaderRows = 64;
constexpr int64_t kSiteRows = 256;

/// What is known of what a reader reads.
struct Inputs {
  std::vector<float> squares{};       ///< their mean squares
  const stats::Gram* gram = nullptr;  ///< null: not known
};

Result<Inputs> inputs_of(const PassUse& use, const Piece& reader, const ModelEdit& edit) {
  Inputs inputs{.squares = edit.importance(reader)};
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

/// By input source: the mean magnitude of weights, each beside the largest of its block, and the largest magnitude.
struct Weights {
  std::vector<double> mean{};
  std::vector<double> largest{};
};

/// A row on which errors are measured.
struct SampleRow {
  std::vector<float> numbers{};
  size_t inputs = 0;  ///< which of Site::inputs
};

/// A place to scale, and what the search goes by. Matrices are read one after another; sampled rows are kept.
struct Site {
  const ScaleSite& place;
  std::vector<Inputs> inputs{};
  std::vector<double> strength{};  ///< root mean squares of the inputs that come from each source
  Weights weights{};
  std::vector<SampleRow> rows{};
};

void add_weights(const ScaleSite& place, const Matrix& matrix, int64_t block, Weights& weights) {
  for (int64_t row = 0; row < matrix.outputs; ++row) {
    const float* numbers = matrix.row(row);
    for (int64_t first = 0; first < matrix.inputs; first += block) {
      const int64_t end = std::min(first + block, matrix.inputs);
      float peak = 0;
      for (int64_t i = first; i < end; ++i) peak = std::max(peak, std::fabs(numbers[i]));
      for (int64_t i = first; i < end; ++i) {
        const auto source = static_cast<size_t>(place.source(i));
        const double size = double{std::fabs(numbers[i])};
        weights.mean[source] += peak > 0 ? size / double{peak} : 0;
        weights.largest[source] = std::max(weights.largest[source], size);
      }
    }
  }
}

/// Matrices that are stored in the format; routers and gates of shared experts keep theirs.
bool is_stored(const Piece& reader) {
  return reader.matrix && reader.key != "router";
}

Result<Site> study(const PassUse& use, const ScaleSite& place, const ModelEdit& edit, int64_t block) {
  Site site{.place = place};
  const auto sources = static_cast<size_t>(place.sources());
  site.weights = {.mean = std::vector<double>(sources), .largest = std::vector<double>(sources)};
  std::vector<double> squares(sources);
  const int64_t most = std::clamp<int64_t>(kSiteRows / std::ssize(place.readers), kReaderRows / 8, kReaderRows);
  double rows = 0;
  for (const Piece* reader : place.readers) {
    if (!is_stored(*reader)) continue;
    LAMINA_ASSIGN(Inputs inputs, inputs_of(use, *reader, edit));
    LAMINA_ASSIGN(const Matrix matrix, edit.read(*reader));
    for (int64_t i = 0; i < place.inputs(); ++i)
      squares[static_cast<size_t>(place.source(i))] += double{inputs.squares[static_cast<size_t>(i)]};
    add_weights(place, matrix, block, site.weights);
    rows += static_cast<double>(matrix.outputs * place.repeat);
    const int64_t count = std::min(most, matrix.outputs);
    for (int64_t s = 0; s < count; ++s) {
      const float* row = matrix.row(s * matrix.outputs / count);
      site.rows.push_back({.numbers = {row, row + matrix.inputs}, .inputs = site.inputs.size()});
    }
    site.inputs.push_back(std::move(inputs));
  }
  for (double& sum : site.weights.mean) sum /= rows;
  const auto sums = static_cast<double>(std::ssize(site.inputs) * place.repeat);
  for (const double sum : squares) site.strength.push_back(std::sqrt(sum / sums));
  return site;
}

/// Scales of no direction: the largest and the smallest are each other's inverse, none is too small.
std::vector<float> balanced(const std::vector<double>& raw) {
  constexpr double kLeast = 1e-4;
  std::vector<double> scales = raw;
  for (double& scale : scales) scale = std::isfinite(scale) ? std::max(scale, kLeast) : 1;
  const auto [low, high] = std::ranges::minmax(scales);
  const double middle = std::sqrt(low * high);
  std::vector<float> out;
  for (const double scale : scales) out.push_back(static_cast<float>(scale / middle));
  return out;
}

/// The squared error of a row's output when its columns are scaled, stored, and scaled back.
double row_error(const Site& site, const SampleRow& row, const codec::Codec& codec, const std::vector<float>& scales) {
  const Inputs& inputs = site.inputs[row.inputs];
  const size_t count = row.numbers.size();
  std::vector<float> scaled(count);
  std::vector<float> importance(count);
  std::vector<float> decoded(count);
  std::vector<std::byte> bytes(static_cast<size_t>(codec.format.row_bytes(std::ssize(row.numbers))));
  const auto scale = [&](size_t i) { return scales[static_cast<size_t>(site.place.source(static_cast<int64_t>(i)))]; };
  for (size_t i = 0; i < count; ++i) {
    scaled[i] = row.numbers[i] * scale(i);
    importance[i] = inputs.squares[i] / (scale(i) * scale(i));
  }
  double ignored = 0;
  const codec::RowFault fault = codec::encode_row(codec, scaled.data(), std::ssize(row.numbers), bytes.data(),
                                                  decoded.data(), ignored, importance.data());
  if (fault.kind != codec::RowFault::Kind::kNone) return std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < count; ++i) decoded[i] = row.numbers[i] - decoded[i] / scale(i);
  return output_error(decoded, inputs.gram, inputs.squares.data());
}

double site_error(const Site& site, const codec::Codec& codec, const std::vector<float>& scales,
                  core::ThreadPool& pool) {
  std::vector<double> errors(site.rows.size());
  pool.run([&](int index, int threads) {
    for (auto r = static_cast<size_t>(index); r < errors.size(); r += static_cast<size_t>(threads))
      errors[r] = row_error(site, site.rows[r], codec, scales);
  });
  return std::accumulate(errors.begin(), errors.end(), 0.0);
}

/// The format that the clause gives what it selects; q4_k where it gives none.
const codec::Codec& format_of(const PassUse& use) {
  for (const recipe::Step& step : use.clause.steps) {
    const codec::Codec* codec = codec::find_codec(step.technique);
    if (codec != nullptr) return *codec;
  }
  return *codec::find_codec("q4_k");
}

struct Gain {
  double before = 0;
  double after = 0;
  int scaled = 0;
  int sites = 0;
};

Status search_site(const PassUse& use, const ScaleSite& place, ModelEdit& edit, Gain& gain, PassReport& report) {
  LAMINA_ASSIGN(const codec::RowCodec codec, codec::codec_for_rows(format_of(use), place.inputs()));
  LAMINA_ASSIGN(const Site site, study(use, place, edit, codec.codec->format.block_elements));
  const auto steps = use.integer("grid");
  std::vector<float> best(site.strength.size(), 1.0F);
  const double before = site_error(site, *codec.codec, best, edit.pool());
  double least = before;
  double exponent = -1;
  for (int64_t step = 0; step < steps; ++step) {
    const double r = static_cast<double>(step) / static_cast<double>(steps);
    std::vector<double> raw;
    for (size_t i = 0; i < site.strength.size(); ++i)
      raw.push_back(std::pow(site.strength[i], r) / (std::pow(site.weights.mean[i], 1 - r) + 1e-4));
    const std::vector<float> scales = balanced(raw);
    const double error = site_error(site, *codec.codec, scales, edit.pool());
    if (!(error < least)) continue;
    least = error;
    best = scales;
    exponent = r;
  }
  gain.before += before;
  gain.after += least;
  ++gain.sites;
  using nlohmann::ordered_json;
  report.details["sites"].push_back({{"layer", edit.origin(place.layer)},
                                     {"site", place.name},
                                     {"exponent", exponent < 0 ? ordered_json() : ordered_json(exponent)},
                                     {"error_before", before},
                                     {"error_after", least}});
  if (exponent < 0) return {};
  ++gain.scaled;
  return apply_scales(place, best, edit);
}

/// All sites of the selected layers, one after another: what one changes, the next reads.
Status each_site(const PassUse& use, ModelEdit& edit, PassReport& report,
                 const std::function<Status(const ScaleSite&)>& apply) {
  std::vector<std::string> left_out;
  LAMINA_ASSIGN(const std::vector<ScaleSite> sites, scale_sites(use, edit, left_out));
  if (sites.empty()) {
    return use.refuse(left_out.empty() ? "nothing that it selects reads what a norm, v or up makes, so there is no "
                                         "place for the inverse of a scale"
                                       : "finds no place for the inverse of a scale; " + left_out.front());
  }
  for (const ScaleSite& site : sites) LAMINA_CHECK_OK(apply(site));
  if (!left_out.empty()) {
    report.notes.push_back(fmt::format("not scaled: {}{}", left_out.front(),
                                       left_out.size() > 1 ? fmt::format("; and {} more", left_out.size() - 1) : ""));
  }
  return edit.commit();
}

}  // namespace

/// Lin et al. 2023, AWQ (arXiv 2306.00978): scales of inputs by how large they are and how large their weights, the
/// exponent searched for each place by the error of the outputs; root mean squares stand for mean magnitudes.
Status awq_pass(const PassUse& use, ModelEdit& edit, PassReport& report) {
  Gain gain;
  LAMINA_CHECK_OK(
      each_site(use, edit, report, [&](const ScaleSite& site) { return search_site(use, site, edit, gain, report); }));
  const double share = gain.before > 0 ? gain.after / gain.before : 1;
  report.summary =
      fmt::format("scaled the inputs at {} of {} places; as {} the outputs' squared error falls to {:.1f} %",
                  gain.scaled, gain.sites, format_of(use).format.name, 100 * share);
  return {};
}

/// Xiao et al. 2022, SmoothQuant (arXiv 2211.10438), eq. 4: what is large in the inputs moves into the weights. Three
/// root mean squares stand for the largest input.
Status smooth_pass(const PassUse& use, ModelEdit& edit, PassReport& report) {
  constexpr double kPeak = 3;
  const double alpha = use.number("alpha");
  int sites = 0;
  LAMINA_CHECK_OK(each_site(use, edit, report, [&](const ScaleSite& place) -> Status {
    LAMINA_ASSIGN(const Site site, study(use, place, edit, place.inputs()));
    std::vector<double> raw;
    for (size_t i = 0; i < site.strength.size(); ++i) {
      const double size = std::pow(site.weights.largest[i], 1 - alpha);
      const bool known = size > 0 && site.strength[i] > 0;
      raw.push_back(known ? std::pow(kPeak * site.strength[i], alpha) / size : 1);
    }
    ++sites;
    return apply_scales(place, balanced(raw), edit);
  }));
  report.summary = fmt::format("moved the size of inputs into weights at {} places, to the power of {}", sites, alpha);
  return {};
}

}  // namespace lamina::compress
