#pragma once

#include <functional>

#include "serve/channel.h"
#include "serve/service.h"

namespace lamina::serve {

/// Takes the events of a request until all its parts have ended. `take` returns false to give up. When the client goes
/// away, or on an error, what still runs is cancelled.
Answer<void> each_event(Channel& channel, int parts, const std::function<bool()>& gone,
                        const std::function<bool(Event& event)>& take);

/// All that came of one part.
struct PartResult {
  std::string text;
  std::vector<ScoredToken> tokens;
  std::vector<ScoredToken> prompt;
  int64_t completion_tokens = 0;
  int64_t cached_tokens = 0;
  run::FinishReason finish = run::FinishReason::kNone;
  int stop = -1;
  std::vector<std::vector<float>> vectors;
};
Answer<std::vector<PartResult>> collect(Channel& channel, int parts, const std::function<bool()>& gone);

/// One server-sent event.
std::string sse(const Json& value);
inline constexpr std::string_view kSseDone = "data: [DONE]\n\n";

}  // namespace lamina::serve
