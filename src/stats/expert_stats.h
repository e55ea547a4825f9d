#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "layers/input_recorder.h"
#include "stats/gram.h"

namespace lamina::stats {

/// Which experts of a layer the rows of text went to.
struct ExpertStats {
  int layer = 0;
  int64_t rows = 0;
  std::vector<double> shares{};  ///< by expert, the sum of its shares in rows
  std::vector<double>
      together{};  ///< one triangle (triangle_row): rows that went to both; on the diagonal, to that one

  int64_t experts() const { return static_cast<int64_t>(shares.size()); }
  /// Rows that went to both experts, or to the one.
  double count(int64_t i, int64_t j) const {
    return together[static_cast<size_t>(i >= j ? triangle_row(i) + j : triangle_row(j) + i)];
  }
  ExpertStats& operator+=(const ExpertStats& other);
};

/// Sums up which experts rows go to, row by row: nothing depends on threads, or on how a text is cut into steps.
/// Memory: half of the experts squared numbers for each layer.
class ExpertSums {
 public:
  void add(const layers::ExpertChoices& choices);
  /// What was seen so far, by layer.
  std::vector<ExpertStats> sums() const;

 private:
  std::map<int, ExpertStats> layers_;
};

}  // namespace lamina::stats
