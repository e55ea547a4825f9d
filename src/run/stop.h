#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace lamina::run {

/// Ends a text at the first stop string, wherever the borders of its pieces fall. Text is handed out as soon as it
/// cannot be part of a stop string. The result does not depend on how the text is cut into pieces: it ends where a stop
/// string is first complete; of several complete there, the longest is cut off.
class StopMatcher {
 public:
  static constexpr size_t kMaxStops = 64;
  static constexpr size_t kMaxStopBytes = 4096;

  struct Output {
    std::string text;  ///< safe to hand out
    bool stopped = false;
  };

  StopMatcher() = default;
  /// Errors: an empty stop string, too many or too long ones (kMaxStops, kMaxStopBytes).
  static core::Result<StopMatcher> create(std::vector<std::string> stops);

  /// Takes the next piece (bytes; borders inside a UTF-8 character are fine). After a stop, everything is swallowed.
  Output push(std::string_view text);
  /// The text still held back, when the sequence ends for another reason.
  std::string finish();
  /// Starts again with an empty text.
  void reset();

  /// The index of the stop string that matched; -1 before that.
  int matched() const { return matched_; }

 private:
  /// Knuth-Morris-Pratt: border[i] is the length of the longest proper border of the first i + 1 bytes.
  struct Pattern {
    std::string text;
    std::vector<size_t> border;
    size_t state = 0;
  };
  static void advance(Pattern& pattern, char byte);
  int complete() const;

  std::vector<Pattern> patterns_;
  std::string pending_;
  int matched_ = -1;
};

}  // namespace lamina::run
