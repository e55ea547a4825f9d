#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <utility>

#include "codec/fallback.h"
#include "compress/scale_search.h"

namespace lamina::compress {

using core::Result;
using core::Status;

namespace {

/// The format that the clause gives what it selects; q4_k where it gives none.
const codec::Codec& format_of(const PassUse& use) {
  for (const recipe::Step& step : use.clause.steps) {
    const codec::Codec* codec = codec::find_codec(step.technique);
    if (codec != nullptr) return *codec;
  }
  return *codec::find_codec("q4_k");
}

/// Whether no number is scaled.
std::vector<float> no_scales(const StudiedSite& site) {
  return std::vector<float>(site.strength.size(), 1.0F);
}

/// The way of least error among some, of which the first scales nothing.
struct Winner {
  size_t way = 0;
  double before = 0;  ///< the error of the first way
  double error = 0;
};

/// All ways are measured on a quarter of the rows, the best quarter of them on half, the best three on all, and the
/// first way throughout. Sites with few rows measure all ways on all of them.
Winner best_way(const StudiedSite& site, const codec::Codec& codec, std::span<const std::vector<float>> ways,
                core::ThreadPool& pool) {
  constexpr size_t kFewRows = 64;
  ScaleErrors errors(site, codec, ways);
  std::vector<size_t> left(ways.size());
  std::iota(left.begin(), left.end(), size_t{0});
  const auto run = [&](std::initializer_list<size_t> shares) {
    for (const size_t share : shares) errors.measure(left, share, pool);
  };
  /// Keeps the first way and the best of the others, in their order.
  const auto keep = [&](size_t count) {
    std::ranges::sort(left.begin() + 1, left.end(), {}, [&](size_t way) { return std::pair(errors.sum(way), way); });
    left.resize(std::min(left.size(), count + 1));
    std::ranges::sort(left);
  };
  run({0, 4});
  if (site.rows.size() >= kFewRows) keep((ways.size() + 2) / 4);
  run({2, 6});
  if (site.rows.size() >= kFewRows) keep(3);
  run({1, 3, 5, 7});
  Winner winner{.way = 0, .before = errors.sum(0), .error = errors.sum(0)};
  for (const size_t way : left) {
    if (const double error = errors.sum(way); error < winner.error) {
      winner.way = way;
      winner.error = error;
    }
  }
  return winner;
}

struct Gain {
  double before = 0;
  double after = 0;
  int scaled = 0;
  int sites = 0;
};

Status search_site(const PassUse& use, const ScaleSite& place, ModelEdit& edit, Gain& gain, PassReport& report) {
  LAMINA_ASSIGN(const codec::RowCodec codec, codec::codec_for_rows(format_of(use), place.inputs()));
  LAMINA_ASSIGN(const StudiedSite site, study_site(use, place, edit, codec.codec->format.block_elements));
  const auto steps = static_cast<size_t>(use.integer("grid"));
  const auto exponent = [&](size_t way) { return static_cast<double>(way - 1) / static_cast<double>(steps); };
  std::vector<std::vector<float>> ways{no_scales(site)};
  for (size_t way = 1; way <= steps; ++way) {
    const double r = exponent(way);
    std::vector<double> raw;
    for (size_t i = 0; i < site.strength.size(); ++i)
      raw.push_back(std::pow(site.strength[i], r) / (std::pow(site.mean[i], 1 - r) + 1e-4));
    ways.push_back(balanced_scales(raw));
  }
  const Winner winner = best_way(site, *codec.codec, ways, edit.pool());
  gain.before += winner.before;
  gain.after += winner.error;
  ++gain.sites;
  using nlohmann::ordered_json;
  report.details["sites"].push_back(
      {{"layer", edit.origin(place.layer)},
       {"site", place.name},
       {"exponent", winner.way == 0 ? ordered_json() : ordered_json(exponent(winner.way))},
       {"error_before", winner.before},
       {"error_after", winner.error}});
  if (winner.way == 0) return {};
  ++gain.scaled;
  return apply_scales(place, ways[winner.way], edit);
}

/// All sites of the selected layers; why others are none goes to the report.
Result<std::vector<ScaleSite>> find_sites(const PassUse& use, const ModelEdit& edit, PassReport& report) {
  std::vector<std::string> left_out;
  LAMINA_ASSIGN(std::vector<ScaleSite> sites, scale_sites(use, edit, left_out));
  if (sites.empty()) {
    return use.refuse(left_out.empty() ? "nothing that it selects reads what a norm, v or up makes, so there is no "
                                         "place for the inverse of a scale"
                                       : "finds no place for the inverse of a scale; " + left_out.front());
  }
  if (!left_out.empty()) {
    report.notes.push_back(fmt::format("not scaled: {}{}", left_out.front(),
                                       left_out.size() > 1 ? fmt::format("; and {} more", left_out.size() - 1) : ""));
  }
  return sites;
}

/// SmoothQuant, eq. 4. Three root mean squares stand for the largest input.
std::vector<float> smooth_scales(const StudiedSite& site, double alpha) {
  constexpr double kPeak = 3;
  std::vector<double> raw;
  for (size_t i = 0; i < site.strength.size(); ++i) {
    const double size = std::pow(site.largest[i], 1 - alpha);
    const bool known = size > 0 && site.strength[i] > 0;
    raw.push_back(known ? std::pow(kPeak * site.strength[i], alpha) / size : 1);
  }
  return balanced_scales(raw);
}

/// The alpha with which all sites together lose least in the clause's format, each beside its outputs, on a quarter of
/// the sampled rows; none where all of them lose more than without scales.
Result<std::optional<double>> search_alpha(const PassUse& use, const ModelEdit& edit, std::span<const ScaleSite> sites,
                                           PassReport& report) {
  const auto steps = static_cast<size_t>(use.integer("grid"));
  std::vector<double> sums(steps + 2);  // without scales, then by alpha
  std::vector<size_t> all(sums.size());
  std::iota(all.begin(), all.end(), size_t{0});
  const auto alpha = [&](size_t way) { return static_cast<double>(way - 1) / static_cast<double>(steps); };
  for (const ScaleSite& place : sites) {
    LAMINA_ASSIGN(const codec::RowCodec codec, codec::codec_for_rows(format_of(use), place.inputs()));
    LAMINA_ASSIGN(const StudiedSite site, study_site(use, place, edit, place.inputs()));
    std::vector<std::vector<float>> ways{no_scales(site)};
    for (size_t way = 1; way < sums.size(); ++way) ways.push_back(smooth_scales(site, alpha(way)));
    ScaleErrors errors(site, *codec.codec, ways);
    for (const size_t share : {size_t{0}, size_t{4}}) errors.measure(all, share, edit.pool());
    const double whole = errors.whole();
    for (size_t way = 0; whole > 0 && way < sums.size(); ++way) sums[way] += errors.sum(way) / whole;
  }
  using nlohmann::ordered_json;
  for (size_t way = 0; way < sums.size(); ++way) {
    report.details["alphas"].push_back(
        {{"alpha", way == 0 ? ordered_json() : ordered_json(alpha(way))}, {"error", sums[way]}});
  }
  const auto best = static_cast<size_t>(std::ranges::min_element(sums) - sums.begin());
  const double share = sums[0] > 0 ? 100 * sums[best] / sums[0] : 100;
  if (best == 0) {
    report.summary = fmt::format("scaled nothing: as {} the outputs of {} places lose more with each of {} alphas",
                                 format_of(use).format.name, sites.size(), steps + 1);
    return std::optional<double>();
  }
  report.summary =
      fmt::format("as {} the outputs' relative squared error falls to {:.1f} %; ", format_of(use).format.name, share);
  return std::optional(alpha(best));
}

}  // namespace

/// Lin et al. 2023, AWQ (arXiv 2306.00978): scales of inputs by how large they are and how large their weights, the
/// exponent searched for each place by the error of the outputs; root mean squares stand for mean magnitudes. What one
/// place changes, the next reads.
Status awq_pass(const PassUse& use, ModelEdit& edit, PassReport& report) {
  Gain gain;
  LAMINA_ASSIGN(const std::vector<ScaleSite> sites, find_sites(use, edit, report));
  for (const ScaleSite& site : sites) LAMINA_CHECK_OK(search_site(use, site, edit, gain, report));
  const double share = gain.before > 0 ? gain.after / gain.before : 1;
  report.summary =
      fmt::format("scaled the inputs at {} of {} places; as {} the outputs' squared error falls to {:.1f} %",
                  gain.scaled, gain.sites, format_of(use).format.name, 100 * share);
  return edit.commit();
}

/// Xiao et al. 2022, SmoothQuant (arXiv 2211.10438), eq. 4: what is large in the inputs moves into the weights. With a
/// grid, Pan et al. 2023, SmoothQuant+ (arXiv 2312.03788): one alpha for all, by what is lost in the clause's format.
Status smooth_pass(const PassUse& use, ModelEdit& edit, PassReport& report) {
  LAMINA_ASSIGN(const std::vector<ScaleSite> sites, find_sites(use, edit, report));
  std::optional<double> alpha = use.number("alpha");
  if (use.integer("grid") > 0) {
    if (recipe::find_argument(use.technique, use.step, "alpha") != nullptr)
      return use.refuse("alpha and grid both say how much moves; one of them expected");
    LAMINA_ASSIGN(alpha, search_alpha(use, edit, sites, report));
  }
  if (!alpha) return {};
  for (const ScaleSite& place : sites) {
    LAMINA_ASSIGN(const StudiedSite site, study_site(use, place, edit, place.inputs()));
    LAMINA_CHECK_OK(apply_scales(place, smooth_scales(site, *alpha), edit));
  }
  report.summary +=
      fmt::format("moved the size of inputs into weights at {} places, to the power of {}", sites.size(), *alpha);
  return edit.commit();
}

}  // namespace lamina::compress
