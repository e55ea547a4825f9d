#include "compress/knapsack.h"

#include <algorithm>
#include <cmath>

namespace lamina::compress {

namespace {

using Items = std::span<const std::vector<Choice>>;

/// For each item the choice that is cheapest when a byte costs `price`; of equals the smaller.
Selection at_price(Items items, double price) {
  Selection out;
  for (const std::vector<Choice>& choices : items) {
    size_t best = 0;
    const auto cost = [&](size_t i) { return choices[i].error + price * static_cast<double>(choices[i].bytes); };
    for (size_t i = 1; i < choices.size(); ++i) {
      const bool equal = cost(i) == cost(best);
      if (cost(i) < cost(best) || (equal && choices[i].bytes < choices[best].bytes)) best = i;
    }
    out.chosen.push_back(best);
    out.bytes += choices[best].bytes;
    out.error += choices[best].error;
  }
  return out;
}

void change(Items items, Selection& selection, size_t item, size_t choice) {
  const Choice& before = items[item][selection.chosen[item]];
  const Choice& after = items[item][choice];
  selection.bytes += after.bytes - before.bytes;
  selection.error += after.error - before.error;
  selection.chosen[item] = choice;
}

/// One item's other choice, beside what it has.
struct Move {
  size_t item = 0;
  size_t choice = 0;
  int64_t bytes = 0;
  double error = 0;
};

std::vector<Move> moves(Items items, const Selection& selection) {
  std::vector<Move> all;
  for (size_t i = 0; i < items.size(); ++i) {
    const Choice& now = items[i][selection.chosen[i]];
    for (size_t c = 0; c < items[i].size(); ++c) {
      const Choice& other = items[i][c];
      if (c != selection.chosen[i]) all.push_back({i, c, other.bytes - now.bytes, other.error - now.error});
    }
  }
  return all;
}

/// Makes the change of one item, or of two, that lowers the error most within the budget. False: there is none.
bool improve(Items items, int64_t budget, Selection& selection) {
  const std::vector<Move> all = moves(items, selection);
  const int64_t room = budget - selection.bytes;
  // Less than this is rounding.
  double best = -1e-12 * std::fabs(selection.error);
  const Move* first = nullptr;
  const Move* second = nullptr;
  for (const Move& a : all) {
    if (a.bytes <= room && a.error < best) {
      best = a.error;
      first = &a;
      second = nullptr;
    }
    if (a.error >= 0) continue;
    // a lowers the error; b gives back the bytes.
    for (const Move& b : all) {
      if (b.item == a.item || a.bytes + b.bytes > room || !(a.error + b.error < best)) continue;
      best = a.error + b.error;
      first = &a;
      second = &b;
    }
  }
  if (first == nullptr) return false;
  change(items, selection, first->item, first->choice);
  if (second != nullptr) change(items, selection, second->item, second->choice);
  return true;
}

}  // namespace

int64_t least_bytes(Items items) {
  int64_t bytes = 0;
  for (const std::vector<Choice>& choices : items) bytes += std::ranges::min(choices, {}, &Choice::bytes).bytes;
  return bytes;
}

std::optional<Selection> choose_within(Items items, int64_t budget) {
  if (least_bytes(items) > budget) return std::nullopt;
  Selection best = at_price(items, 0);
  best.bound = best.error;
  if (best.bytes <= budget) return best;
  double total = 0;
  for (const std::vector<Choice>& choices : items) total += std::ranges::max(choices, {}, &Choice::error).error;
  // At this price no byte is worth an error.
  double high = total + 1;
  double low = 0;
  best = at_price(items, high);
  double bound = 0;
  const auto raise_bound = [&](const Selection& at, double price) {
    bound = std::max(bound, at.error + price * static_cast<double>(at.bytes - budget));
  };
  constexpr int kHalvings = 200;
  for (int i = 0; i < kHalvings && low < high; ++i) {
    // Prices lie many powers of ten below the first.
    const double price = low > 0 ? std::sqrt(low * high) : high * 1e-3;
    if (low == 0 && price < 1e-300) break;
    const Selection at = at_price(items, price);
    raise_bound(at, price);
    if (at.bytes <= budget) {
      high = price;
      best = at;
    } else {
      low = price;
    }
  }
  while (improve(items, budget, best)) {
  }
  best.bound = std::min(bound, best.error);
  return best;
}

}  // namespace lamina::compress
