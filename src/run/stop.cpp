#include "run/stop.h"

#include <algorithm>
#include <utility>

namespace lamina::run {

using core::ErrorCode;
using core::fail;

core::Result<StopMatcher> StopMatcher::create(std::vector<std::string> stops) {
  if (stops.size() > kMaxStops) {
    return fail(ErrorCode::kLimit, "stop", "{} stop strings; at most {} allowed", stops.size(), kMaxStops);
  }
  StopMatcher matcher;
  for (size_t i = 0; i < stops.size(); ++i) {
    std::string& text = stops[i];
    if (text.empty() || text.size() > kMaxStopBytes) {
      return fail(text.empty() ? ErrorCode::kInvalid : ErrorCode::kLimit, "stop",
                  "stop string {} has {} bytes; 1 to {} expected", i, text.size(), kMaxStopBytes);
    }
    Pattern pattern{.text = std::move(text), .border = {0}, .state = 0};
    // The pattern is run over itself from its second byte on.
    for (size_t end = 1; end < pattern.text.size(); ++end) {
      advance(pattern, pattern.text[end]);
      pattern.border.push_back(pattern.state);
    }
    pattern.state = 0;
    matcher.patterns_.push_back(std::move(pattern));
  }
  return matcher;
}

void StopMatcher::advance(Pattern& pattern, char byte) {
  while (pattern.state > 0 && pattern.text[pattern.state] != byte) pattern.state = pattern.border[pattern.state - 1];
  if (pattern.text[pattern.state] == byte) ++pattern.state;
}

/// The longest pattern that is complete; -1 if none is.
int StopMatcher::complete() const {
  int longest = -1;
  for (size_t i = 0; i < patterns_.size(); ++i) {
    const Pattern& pattern = patterns_[i];
    if (pattern.state != pattern.text.size()) continue;
    if (longest < 0 || pattern.state > patterns_[static_cast<size_t>(longest)].state) longest = static_cast<int>(i);
  }
  return longest;
}

StopMatcher::Output StopMatcher::push(std::string_view text) {
  if (matched_ >= 0) return {.text = {}, .stopped = true};
  for (const char byte : text) {
    pending_ += byte;
    for (Pattern& pattern : patterns_) advance(pattern, byte);
    matched_ = complete();
    if (matched_ < 0) continue;
    pending_.resize(pending_.size() - patterns_[static_cast<size_t>(matched_)].text.size());
    return {.text = std::exchange(pending_, {}), .stopped = true};
  }
  size_t held = 0;
  for (const Pattern& pattern : patterns_) held = std::max(held, pattern.state);
  Output output{.text = pending_.substr(0, pending_.size() - held)};
  pending_.erase(0, output.text.size());
  return output;
}

std::string StopMatcher::finish() {
  for (Pattern& pattern : patterns_) pattern.state = 0;
  return std::exchange(pending_, {});
}

void StopMatcher::reset() {
  finish();
  matched_ = -1;
}

}  // namespace lamina::run
