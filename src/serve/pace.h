#pragma once

#include <cstdint>
#include <limits>

namespace lamina::serve {

inline constexpr double kNoHurry = std::numeric_limits<double>::infinity();

struct PaceOptions {
  double max_gap_seconds = 0;  ///< between two tokens of those who write; 0: three times a step without reading
  int64_t least_rows = 8;      ///< of prompts, in a step in which others write

  /// How long texts may be read between two steps that take so long without that.
  double read_seconds(double plain_seconds) const;
};

/// Chooses how many rows of prompts go into a step in which others write, from how long steps have taken. Only time
/// depends on the choice, never a result.
class Pace {
 public:
  Pace(const PaceOptions& options, int64_t max_rows);

  /// Rows of prompts for the next step, where so many sequences write and other models leave so much time. Now and then
  /// none, to see what that takes.
  int64_t prompt_rows(int64_t writers, double seconds = kNoHurry) const;
  /// Tells how long a step took.
  void note(int64_t writers, int64_t prompt_rows, double seconds);
  /// Of a step without prompts; 0: not yet known.
  double plain_seconds() const { return plain_seconds_; }

 private:
  PaceOptions options_;
  int64_t max_rows_;
  double plain_seconds_ = 0;
  double seconds_per_row_ = 0;  ///< that a prompt's row adds; 0: not yet known
  int mixed_ = 0;               ///< steps since the last one without prompts
};

}  // namespace lamina::serve
