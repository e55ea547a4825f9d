#include "serve/events.h"

namespace lamina::serve {

namespace {

/// How often it is seen whether the client is still there.
constexpr std::chrono::milliseconds kLook{100};
constexpr int kClientGone = 499;

}  // namespace

Answer<void> each_event(Channel& channel, int parts, const std::function<bool()>& gone,
                        const std::function<bool(Event& event)>& take) {
  int ended = 0;
  auto looked = std::chrono::steady_clock::now();
  while (ended < parts) {
    std::optional<Event> event = channel.pop(kLook);
    const auto now = std::chrono::steady_clock::now();
    if (now - looked >= kLook) {
      looked = now;
      if (gone()) {
        channel.cancel();
        return refuse(kClientGone, "", "the client went away");
      }
    }
    if (!event) continue;
    if (event->error) {
      channel.cancel();
      return std::unexpected(Refusal(*event->error));
    }
    ended += event->last ? 1 : 0;
    if (!take(*event)) {
      channel.cancel();
      return refuse(kClientGone, "", "the client went away");
    }
  }
  return {};
}

Answer<std::vector<PartResult>> collect(Channel& channel, int parts, const std::function<bool()>& gone) {
  std::vector<PartResult> results(static_cast<size_t>(parts));
  LAMINA_CHECK_OK(each_event(channel, parts, gone, [&](Event& event) {
    PartResult& result = results[static_cast<size_t>(event.part)];
    result.text += event.text;
    std::ranges::move(event.tokens, std::back_inserter(result.tokens));
    std::ranges::move(event.prompt, std::back_inserter(result.prompt));
    result.completion_tokens = event.completion_tokens;
    result.cached_tokens = event.cached_tokens;
    if (event.last) {
      result.finish = event.finish;
      result.stop = event.stop;
      result.vectors = std::move(event.vectors);
    }
    return true;
  }));
  return results;
}

std::string sse(const Json& value) {
  return "data: " + to_text(value) + "\n\n";
}

}  // namespace lamina::serve
