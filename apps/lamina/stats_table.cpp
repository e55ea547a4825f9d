#include "lamina/stats_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

#include "lamina/table.h"

namespace lamina::app {

namespace {

double mean(double sum, int64_t rows) {
  return rows > 0 ? sum / static_cast<double>(rows) : 0;
}

}  // namespace

nlohmann::ordered_json parts_json(const stats::Statistics& statistics) {
  nlohmann::ordered_json parts = nlohmann::ordered_json::array();
  for (const stats::PartStats& part : statistics.parts) {
    parts.push_back({{"layer", part.layer},
                     {"part", part.role},
                     {"cosine", mean(part.cosine, part.rows)},
                     {"contribution", mean(part.contribution, part.rows)},
                     {"length_before", mean(part.length_before, part.rows)},
                     {"length_after", mean(part.length_after, part.rows)}});
    if (part.voids >= 0) parts.back()["void"] = mean(static_cast<double>(part.voids), part.rows);
  }
  return parts;
}

std::string parts_text(const stats::Statistics& statistics) {
  Table table({">LAYER", "PART", ">COSINE", ">ADDS", ">LENGTH BEFORE", ">AFTER", ">VOID"});
  for (const stats::PartStats& part : statistics.parts) {
    table.add({std::to_string(part.layer), part.role, fmt::format("{:.4f}", mean(part.cosine, part.rows)),
               fmt::format("{:.3f}", mean(part.contribution, part.rows)),
               fmt::format("{:.2f}", mean(part.length_before, part.rows)),
               fmt::format("{:.2f}", mean(part.length_after, part.rows)),
               part.voids < 0 ? "" : fmt::format("{:.2f}", mean(static_cast<double>(part.voids), part.rows))});
  }
  return table.text();
}

namespace {

/// Spans of distances below this many positions count as recent.
constexpr size_t kRecentSpans = 6;

/// What a head's sums mean for a row.
struct HeadMeans {
  double entropy = 0;
  double first = 0;   ///< share of the text's first token
  double recent = 0;  ///< share of the row itself and its nearest neighbours
  double sink = 0;
};

HeadMeans means_of(const stats::HeadSums& head, int64_t rows) {
  HeadMeans means{.entropy = mean(head.entropy, rows),
                  .first = mean(head.positions[0], rows),
                  .recent = 0,
                  .sink = mean(head.sink, rows)};
  for (size_t span = 0; span < kRecentSpans; ++span) means.recent += mean(head.distances[span], rows);
  return means;
}

/// "2.31", or of several heads their mean and range, "2.31 (0.52-4.10)".
std::string range_text(std::span<const HeadMeans> heads, double HeadMeans::* value) {
  double sum = 0;
  double least = heads.front().*value;
  double most = least;
  for (const HeadMeans& head : heads) {
    sum += head.*value;
    least = std::min(least, head.*value);
    most = std::max(most, head.*value);
  }
  if (heads.size() == 1) return fmt::format("{:.2f}", sum);
  return fmt::format("{:.2f} ({:.2f}-{:.2f})", sum / static_cast<double>(heads.size()), least, most);
}

/// Means of the spans up to the last one that has something.
nlohmann::ordered_json spans_json(const std::array<double, stats::kSpans>& sums, int64_t rows) {
  size_t count = sums.size();
  while (count > 0 && sums[count - 1] == 0) --count;
  nlohmann::ordered_json out = nlohmann::ordered_json::array();
  for (size_t span = 0; span < count; ++span) out.push_back(mean(sums[span], rows));
  return out;
}

}  // namespace

nlohmann::ordered_json attention_json(const stats::Statistics& statistics) {
  nlohmann::ordered_json layers = nlohmann::ordered_json::array();
  for (const stats::AttentionStats& stats : statistics.attention) {
    nlohmann::ordered_json heads = nlohmann::ordered_json::array();
    for (const stats::HeadSums& head : stats.heads) {
      const HeadMeans means = means_of(head, stats.rows);
      heads.push_back({{"entropy", means.entropy},
                       {"first", means.first},
                       {"recent", means.recent},
                       {"sink", means.sink},
                       {"positions", spans_json(head.positions, stats.rows)},
                       {"distances", spans_json(head.distances, stats.rows)}});
    }
    layers.push_back({{"layer", stats.layer}, {"rows", stats.rows}, {"heads", std::move(heads)}});
  }
  return layers;
}

std::string attention_text(const stats::Statistics& statistics, bool all) {
  if (statistics.attention.empty()) return "";
  const auto recent = fmt::format(">LAST {}", stats::span_begin(kRecentSpans));
  Table table({">LAYER", all ? ">HEAD" : ">HEADS", ">ENTROPY", ">FIRST TOKEN", recent, ">NO TOKEN"});
  for (const stats::AttentionStats& stats : statistics.attention) {
    std::vector<HeadMeans> heads;
    for (const stats::HeadSums& head : stats.heads) heads.push_back(means_of(head, stats.rows));
    const size_t together = all ? 1 : heads.size();
    for (size_t first = 0; first < heads.size(); first += together) {
      const std::span<const HeadMeans> some(heads.data() + first, together);
      table.add({std::to_string(stats.layer), std::to_string(all ? first : together),
                 range_text(some, &HeadMeans::entropy), range_text(some, &HeadMeans::first),
                 range_text(some, &HeadMeans::recent), range_text(some, &HeadMeans::sink)});
    }
  }
  return table.text();
}

namespace {

/// "17: 31.2 %" of an expert, or of two "17 and 4: 12.0 %".
std::string share_text(const std::string& who, double share) {
  return fmt::format("{}: {:.1f} %", who, 100 * share);
}

/// The other expert that is chosen most often beside one.
int64_t companion(const stats::ExpertStats& stats, int64_t expert) {
  int64_t best = expert == 0 ? 1 : 0;
  for (int64_t i = 0; i < stats.experts(); ++i) {
    if (i != expert && stats.count(i, expert) > stats.count(best, expert)) best = i;
  }
  return best;
}

std::vector<std::string> layer_cells(const stats::ExpertStats& stats) {
  int64_t most = 0;
  int64_t least = 0;
  double all_shares = 0;
  int64_t pair = 0;
  for (int64_t i = 0; i < stats.experts(); ++i) {
    all_shares += stats.shares[static_cast<size_t>(i)];
    if (stats.count(i, i) > stats.count(most, most)) most = i;
    if (stats.count(i, i) < stats.count(least, least)) least = i;
    if (stats.experts() > 1 && stats.count(i, companion(stats, i)) > stats.count(pair, companion(stats, pair)))
      pair = i;
  }
  const auto of_rows = [&](double count) { return mean(count, stats.rows); };
  const double weight = all_shares > 0 ? stats.shares[static_cast<size_t>(most)] / all_shares : 0;
  std::string together;
  if (stats.experts() > 1) {
    const int64_t other = companion(stats, pair);
    together = share_text(fmt::format("{} and {}", pair, other), of_rows(stats.count(pair, other)));
  }
  return {std::to_string(stats.layer),
          std::to_string(stats.experts()),
          share_text(std::to_string(most), of_rows(stats.count(most, most))),
          fmt::format("{:.1f} %", 100 * weight),
          share_text(std::to_string(least), of_rows(stats.count(least, least))),
          together};
}

std::vector<std::string> expert_cells(const stats::ExpertStats& stats, int64_t expert, double all_shares) {
  const double rows = stats.count(expert, expert);
  std::string beside;
  if (stats.experts() > 1 && rows > 0) {
    const int64_t other = companion(stats, expert);
    beside = share_text(std::to_string(other), stats.count(expert, other) / rows);
  }
  const double share = stats.shares[static_cast<size_t>(expert)];
  return {std::to_string(stats.layer), std::to_string(expert), fmt::format("{:.1f} %", 100 * mean(rows, stats.rows)),
          fmt::format("{:.1f} %", all_shares > 0 ? 100 * share / all_shares : 0), beside};
}

}  // namespace

nlohmann::ordered_json experts_json(const stats::Statistics& statistics) {
  nlohmann::ordered_json layers = nlohmann::ordered_json::array();
  for (const stats::ExpertStats& stats : statistics.experts) {
    nlohmann::ordered_json counts = nlohmann::ordered_json::array();
    nlohmann::ordered_json together = nlohmann::ordered_json::array();
    for (int64_t i = 0; i < stats.experts(); ++i) {
      counts.push_back(std::llround(stats.count(i, i)));
      nlohmann::ordered_json row = nlohmann::ordered_json::array();
      for (int64_t j = 0; j < i; ++j) row.push_back(std::llround(stats.count(i, j)));
      together.push_back(std::move(row));
    }
    layers.push_back({{"layer", stats.layer},
                      {"rows", stats.rows},
                      {"counts", std::move(counts)},
                      {"shares", stats.shares},
                      {"together", std::move(together)}});
  }
  return layers;
}

std::string experts_text(const stats::Statistics& statistics, bool all) {
  if (statistics.experts.empty()) return "";
  Table table(all ? std::vector<std::string>{">LAYER", ">EXPERT", ">TOKENS", ">WEIGHT", "MOST OFTEN WITH"}
                  : std::vector<std::string>{">LAYER", ">EXPERTS", "MOST TOKENS", ">ITS WEIGHT", "FEWEST TOKENS",
                                             "MOST OFTEN TOGETHER"});
  for (const stats::ExpertStats& stats : statistics.experts) {
    if (!all) {
      table.add(layer_cells(stats));
      continue;
    }
    const double all_shares = std::accumulate(stats.shares.begin(), stats.shares.end(), 0.0);
    for (int64_t expert = 0; expert < stats.experts(); ++expert) table.add(expert_cells(stats, expert, all_shares));
  }
  return table.text();
}

}  // namespace lamina::app
