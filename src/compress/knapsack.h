#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace lamina::compress {

/// One way to store something: what it takes and what it costs.
struct Choice {
  int64_t bytes = 0;
  double error = 0;
};

/// One choice for each item.
struct Selection {
  std::vector<size_t> chosen{};
  int64_t bytes = 0;
  double error = 0;
  double bound = 0;  ///< no selection within the budget has a smaller error
};

/// Bytes of the smallest choice of every item.
int64_t least_bytes(std::span<const std::vector<Choice>> items);

/// The selection of at most `budget` bytes with the least sum of errors that is found: by one price for a byte, the
/// same for all items, then by changes of one or two items that use what is left. `bound` says how far from the best
/// it can be. Nothing when even the smallest choices take more. Items have at least one choice each.
std::optional<Selection> choose_within(std::span<const std::vector<Choice>> items, int64_t budget);

}  // namespace lamina::compress
