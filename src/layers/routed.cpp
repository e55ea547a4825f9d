#include "layers/routed.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "kernels/softmax.h"
#include "layers/rows.h"

namespace lamina::layers {

using core::ErrorCode;
using core::fail;
using core::Result;

namespace {

/// Reading a panel costs about as much as computing this many rows with it.
constexpr int64_t kPanelRows = 8;
/// Ranks of experts that are chosen already, which kernels::argmax passes over, and of those that may not be.
constexpr float kTaken = std::numeric_limits<float>::quiet_NaN();
constexpr float kBarred = -std::numeric_limits<float>::infinity();
/// Keeps the sum of vanishing shares from being a divisor of 0.
constexpr float kLeastSum = 1e-20F;

void softmax_scores(float* logits, int64_t experts) {
  kernels::softmax(logits, experts, logits);
}

void sigmoid_scores(float* logits, int64_t experts) {
  for (int64_t i = 0; i < experts; ++i) logits[i] = static_cast<float>(1.0 / (1.0 + std::exp(-double{logits[i]})));
}

struct ScoringRow {
  std::string_view name;
  RouterOptions::Scoring scoring;
};
constexpr std::array kScorings{ScoringRow{"softmax", softmax_scores}, ScoringRow{"sigmoid", sigmoid_scores}};

Result<RouterOptions::Scoring> find_scoring(const std::string& name, const std::string& place) {
  const auto* found = std::ranges::find(kScorings, std::string_view(name), &ScoringRow::name);
  if (found != kScorings.end()) return found->scoring;
  return fail(ErrorCode::kUnsupported, place, "scoring \"{}\" is unknown; softmax or sigmoid expected", name);
}

core::Status check(const RouterOptions& options, const std::string& place) {
  if (options.used > options.experts) {
    return fail(ErrorCode::kCorrupt, place, "{} of {} experts per token; at most all expected", options.used,
                options.experts);
  }
  if (options.experts % options.groups != 0 || options.groups_used > options.groups) {
    return fail(ErrorCode::kCorrupt, place, "{} experts in {} groups, {} of them used; groups of one size expected",
                options.experts, options.groups, options.groups_used);
  }
  const int64_t size = options.experts / options.groups;
  if (options.group_best > size || options.used > options.groups_used * size) {
    return fail(
        ErrorCode::kCorrupt, place,
        "{} experts per token from {} groups of {} that are judged by {}; at most as many as there are expected",
        options.used, options.groups_used, size, options.group_best);
  }
  return {};
}

/// What the choice of one row's experts works on.
struct RowChoice {
  const float* scores = nullptr;  ///< [experts]
  float* ranks = nullptr;         ///< [experts]
  float* groups = nullptr;        ///< [groups]
};

/// ranks = scores + bias of experts [begin, end).
void rank(const RouterOptions& options, const RowChoice& row, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i)
    row.ranks[i] = row.scores[i] + (options.bias.empty() ? 0.0F : options.bias[static_cast<size_t>(i)]);
}

/// The best of `count` ranks, then taken. When nothing but numbers that are none are left, the first that is not among
/// the `chosen` before: nothing is chosen twice.
int64_t take_best(float* ranks, int64_t count, std::span<const int32_t> chosen) {
  int64_t best = kernels::argmax(ranks, count);
  const auto again = [&](int64_t place) { return std::ranges::find(chosen, place) != chosen.end(); };
  if (std::isnan(ranks[best])) {
    for (best = 0; again(best); ++best) continue;
  }
  ranks[best] = kTaken;
  return best;
}

/// Bars the experts of all groups but the best.
void bar_groups(const RouterOptions& options, const RowChoice& row) {
  const int64_t size = options.experts / options.groups;
  for (int64_t g = 0; g < options.groups; ++g) {
    row.groups[g] = 0;
    for (int64_t i = 0; i < options.group_best; ++i) {
      const int64_t best = kernels::argmax(row.ranks + g * size, size);
      row.groups[g] += std::exchange(row.ranks[g * size + best], kTaken);
    }
  }
  std::fill_n(row.ranks, options.experts, kBarred);
  for (int64_t i = 0; i < options.groups_used; ++i) {
    const int64_t best = kernels::argmax(row.groups, options.groups);
    row.groups[best] = kTaken;
    rank(options, row, best * size, (best + 1) * size);
  }
}

/// The experts of one row, best first, and their shares.
void choose(const RouterOptions& options, const RowChoice& row, int32_t* experts, float* shares) {
  rank(options, row, 0, options.experts);
  if (options.groups_used < options.groups) bar_groups(options, row);
  float sum = 0;
  for (int64_t i = 0; i < options.used; ++i) {
    const int64_t best = take_best(row.ranks, options.experts, {experts, static_cast<size_t>(i)});
    experts[i] = static_cast<int32_t>(best);
    shares[i] = row.scores[best];
    sum += shares[i];
  }
  const float divisor = options.normalize ? sum + kLeastSum : 1.0F;
  for (int64_t i = 0; i < options.used; ++i) shares[i] = shares[i] / divisor * options.share_scale;
}

}  // namespace

Result<RouterOptions> read_router_options(Record& record, Weights& weights) {
  RouterOptions options;
  LAMINA_ASSIGN(options.experts, record.size("experts"));
  LAMINA_ASSIGN(options.used, record.size("used"));
  LAMINA_ASSIGN(options.normalize, record.flag("normalize"));
  LAMINA_ASSIGN(const double scale, record.number_or("share_scale", 1));
  options.share_scale = static_cast<float>(scale);
  const auto count = [&](const char* key, int64_t fallback) {
    return record.has(key) ? record.size(key) : Result<int64_t>(fallback);
  };
  LAMINA_ASSIGN(options.groups, count("groups", 1));
  LAMINA_ASSIGN(options.groups_used, count("groups_used", options.groups));
  LAMINA_ASSIGN(options.group_best, count("group_best", 1));
  LAMINA_CHECK_OK(check(options, record.place()));
  LAMINA_ASSIGN(const std::optional<std::string> scoring, record.optional_text("scoring"));
  LAMINA_ASSIGN(options.scoring, find_scoring(scoring.value_or("softmax"), record.place()));
  LAMINA_ASSIGN(const std::optional<std::string> bias, record.optional_text("selection_bias"));
  if (bias && weights.has(*bias)) {
    LAMINA_ASSIGN(options.bias, weights.vector(*bias, options.experts));
  }
  return options;
}

Routes route(Step& step, const RouterOptions& options, float* logits) {
  const int64_t used = options.used;
  const int64_t count = step.rows * used;
  auto* experts = step.arena.take<int32_t>(count);
  auto* shares = step.arena.take<float>(count);
  auto* places = step.arena.take<int32_t>(count);
  auto* sources = step.arena.take<int32_t>(count);
  auto* first = step.arena.take<int32_t>(options.experts + 1);
  auto* ranks = step.arena.take<float>(step.rows * options.experts);
  auto* groups = step.arena.take<float>(step.rows * options.groups);
  split_rows(step.pool, step.rows, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      float* scores = logits + row * options.experts;
      options.scoring(scores, options.experts);
      choose(options,
             {.scores = scores, .ranks = ranks + row * options.experts, .groups = groups + row * options.groups},
             experts + row * used, shares + row * used);
    }
  });
  std::fill_n(first, options.experts + 1, 0);
  for (int64_t i = 0; i < count; ++i) ++first[experts[i] + 1];
  for (int64_t e = 0; e < options.experts; ++e) first[e + 1] += first[e];
  // first[e + 1] is where expert e's places end; filled from the back, it comes to be where they begin.
  for (int64_t i = count - 1; i >= 0; --i) {
    const int32_t place = --first[experts[i] + 1];
    places[i] = place;
    sources[place] = static_cast<int32_t>(i / used);
  }
  std::copy(first + 1, first + options.experts + 1, first);
  first[options.experts] = static_cast<int32_t>(count);
  step.lap(Op::kRouting);
  return {.used = used, .experts = experts, .places = places, .shares = shares, .sources = sources, .first = first};
}

int64_t route_bytes(const RouterOptions& options, int64_t rows) {
  const auto numbers = [](int64_t count) { return static_cast<int64_t>(Arena::padded(count * 4)); };
  return 4 * numbers(rows * options.used) + numbers(options.experts + 1) + numbers(rows * options.experts) +
         numbers(rows * options.groups);
}

namespace {

void note_routed(const Step& step, std::span<const RoutedProduct> products, const Routes& routes) {
  if (step.profile == nullptr) return;
  std::array<const Linear*, 2> matrices{};
  OpCost cost;
  for (size_t i = 0; i < products.size(); ++i) {
    if (i < matrices.size()) matrices[i] = products[i].experts->front().get();
    for (size_t e = 0; e < products[i].experts->size(); ++e) {
      const int64_t rows = int64_t{routes.first[e + 1]} - routes.first[e];
      if (rows > 0) cost += product_cost(*(*products[i].experts)[e], rows);
    }
  }
  step.profile->lap(Op::kProduct, cost, {matrices.data(), std::min(products.size(), matrices.size())});
}

}  // namespace

void run_routed(Step& step, std::span<const RoutedProduct> products, const Routes& routes) {
  const auto rows_of = [&](size_t expert) { return int64_t{routes.first[expert + 1]} - routes.first[expert]; };
  const auto panel_cost = [&](size_t expert) { return rows_of(expert) + kPanelRows; };
  int64_t total = 0;
  for (const RoutedProduct& product : products) {
    for (size_t e = 0; e < product.experts->size(); ++e) {
      if (rows_of(e) > 0) total += panel_cost(e) * (*product.experts)[e]->layout().panels;
    }
  }
  step.pool.run([&](int index, int threads) {
    const core::Range mine = core::split_range(total, 1, index, threads);
    int64_t start = 0;  // cost of what comes before the expert's first panel
    for (const RoutedProduct& product : products) {
      for (size_t e = 0; e < product.experts->size(); ++e) {
        if (rows_of(e) == 0) continue;
        const Linear& linear = *(*product.experts)[e];
        const int64_t cost = panel_cost(e);
        const auto panel_at = [&](int64_t at) {
          return std::clamp<int64_t>((at - start + cost - 1) / cost, 0, linear.layout().panels);
        };
        const int64_t begin = mine.begin <= start ? 0 : panel_at(mine.begin);
        const int64_t end = mine.end <= start ? 0 : panel_at(mine.end);
        start += cost * linear.layout().panels;
        if (begin >= end) continue;
        const int64_t row_bytes = kernels::activation_layout(linear.layout()).row_bytes;
        kernels::linear({.layout = &linear.layout(),
                         .packed = linear.packed(),
                         .panel_begin = begin,
                         .panel_end = end,
                         .activations = product.activations + routes.first[e] * row_bytes,
                         .rows = rows_of(e),
                         .y = product.y + routes.first[e] * linear.outputs(),
                         .y_stride = linear.outputs(),
                         .bias = linear.bias(),
                         .accumulate = false,
                         .scratch = step.thread_scratch[static_cast<size_t>(index)]});
      }
    }
  });
  note_routed(step, products, routes);
}

}  // namespace lamina::layers
