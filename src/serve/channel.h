#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/result.h"
#include "run/engine.h"
#include "run/log_probability.h"

namespace lamina::serve {

/// A token of a prompt or an answer, and how likely the model held it.
struct ScoredToken {
  int32_t id = 0;
  std::optional<double> log_probability;        ///< absent for the first token of a prompt
  std::vector<run::TokenLogProbability> top{};  ///< the most likely ones in its place, as many as were asked for
};

/// What the scheduler has to tell about one part of a request.
struct Event {
  int part = 0;                       ///< which of the request's sequences
  std::string text{};                 ///< safe to show
  std::vector<ScoredToken> tokens{};  ///< of the text, if log probabilities were asked for
  std::vector<ScoredToken> prompt{};  ///< of the prompt, likewise
  int64_t completion_tokens = 0;      ///< written so far
  int64_t cached_tokens = 0;          ///< of the prompt, that another text had computed
  run::FinishReason finish = run::FinishReason::kNone;
  int stop = -1;                              ///< which stop string ended it; -1: none
  std::vector<std::vector<float>> vectors{};  ///< of texts that were embedded or scored
  std::optional<core::Error> error{};         ///< the part has failed
  bool last = false;                          ///< nothing more comes of this part
};

/// The way from the scheduler's thread to the one that answers a client. The scheduler pushes, the other pops, and may
/// cancel at any time.
class Channel {
 public:
  void push(Event event);
  /// The next event; nothing when none has come after `wait`.
  std::optional<Event> pop(std::chrono::milliseconds wait);
  /// Says that nobody listens any more.
  void cancel();
  bool cancelled() const;

 private:
  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<Event> events_;
  bool cancelled_ = false;
};

/// Cancels a channel when its last copy goes: nobody listens any more.
class Listener {
 public:
  explicit Listener(const std::shared_ptr<Channel>& channel)
      : channel_(channel.get(), [kept = channel](Channel* one) { one->cancel(); }) {}
  Channel& channel() const { return *channel_; }

 private:
  std::shared_ptr<Channel> channel_;
};

}  // namespace lamina::serve
