#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "run/router.h"

namespace lamina::eval {

/// What is read of the prompt of one sequence.
struct DirectionShape {
  int64_t visits = 0;
  int64_t hidden = 0;
  int64_t length = 0;   ///< tokens of the prompt
  int64_t windows = 1;  ///< of the prompt (run::window_range)
};

/// What routers read (run::Router) of one sequence's prompt: mean directions of the stream before each visit.
class DirectionReader : public run::BorderHook {
 public:
  explicit DirectionReader(const DirectionShape& shape)
      : shape_(shape), sums_(static_cast<size_t>((shape.visits + 1) * shape.windows * shape.hidden)) {}

  void at_border(const run::Border& border, float* stream) override {
    const int64_t first = border.groups.front().first_position;
    for (int64_t window = 0; window < shape_.windows; ++window) {
      const run::WindowRange range = run::window_range(shape_.length, shape_.windows, window);
      const double scale = 1.0 / static_cast<double>(range.end - range.begin);
      double* sums = sums_.data() + ((border.visit + 1) * shape_.windows + window) * shape_.hidden;
      const int64_t end = std::min(range.end, first + border.rows);
      for (int64_t position = std::max(range.begin, first); position < end; ++position)
        run::add_direction(stream + (position - first) * shape_.hidden, shape_.hidden, scale, sums);
    }
  }
  /// [windows, hidden]
  std::span<const double> before(size_t visit) const {
    const auto size = static_cast<size_t>(shape_.windows * shape_.hidden);
    return std::span(sums_).subspan(visit * size, size);
  }

 private:
  DirectionShape shape_;
  std::vector<double> sums_;
};

}  // namespace lamina::eval
