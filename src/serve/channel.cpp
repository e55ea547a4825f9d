#include "serve/channel.h"

namespace lamina::serve {

void Channel::push(Event event) {
  {
    const std::lock_guard lock(mutex_);
    if (cancelled_) return;
    events_.push_back(std::move(event));
  }
  arrived_.notify_one();
}

std::optional<Event> Channel::pop(std::chrono::milliseconds wait) {
  std::unique_lock lock(mutex_);
  if (!arrived_.wait_for(lock, wait, [&] { return !events_.empty(); })) return std::nullopt;
  Event event = std::move(events_.front());
  events_.pop_front();
  return event;
}

void Channel::cancel() {
  const std::lock_guard lock(mutex_);
  cancelled_ = true;
  events_.clear();
}

bool Channel::cancelled() const {
  const std::lock_guard lock(mutex_);
  return cancelled_;
}

}  // namespace lamina::serve
