#pragma once

#include <cstdint>

namespace lamina::serve {

struct PaceOptions {
  double max_gap_seconds = 0;  ///< between two tokens of those who write; 0: three times a step without reading
  int64_t least_rows = 8;      ///< of prompts, in a step in which others write
};

/// Chooses how many rows of prompts go into a step in which others write, from how long steps have taken. Only time
/// depends on the choice, never a result.
class Pace {
 public:
  Pace(const PaceOptions& options, int64_t max_rows);

  /// Rows of prompts for the next step, where so many sequences write. Now and then none, to see what that takes.
  int64_t prompt_rows(int64_t writers) const;
  /// Tells how long a step took.
  void note(int64_t writers, int64_t prompt_rows, double seconds);

 private:
  PaceOptions options_;
  int64_t max_rows_;
  double plain_seconds_ = 0;    ///< of a step without prompts; 0: not yet known
  double seconds_per_row_ = 0;  ///< that a prompt's row adds; 0: not yet known
  int mixed_ = 0;               ///< steps since the last one without prompts
};

}  // namespace lamina::serve
