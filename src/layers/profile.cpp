#include "layers/profile.h"

#include <algorithm>

namespace lamina::layers {

std::string_view op_name(Op op) {
  static constexpr std::array<std::string_view, 13> kNames{
      "embedding",        "rotary angles", "norm",       "quantize rows", "product",
      "rotate and store", "attention",     "activation", "routing",       "convolution",
      "state space",      "copy of rows",  "hook"};
  return kNames[static_cast<size_t>(op)];
}

OpCost& OpCost::operator+=(const OpCost& other) {
  bytes += other.bytes;
  int8 += other.int8;
  float32 += other.float32;
  return *this;
}

Profile::Profile(size_t capacity) {
  events_.reserve(capacity);
}

void Profile::start(StepKind kind) {
  kind_ = kind;
  events_.clear();
  next_ = OpEvent();
  next_.begin = Clock::now() - origin_;
}

void Profile::finish() {
  StepSums& sums = sums_[static_cast<size_t>(kind_)];
  ++sums.steps;
  if (events_.empty()) return;
  sums.seconds += std::chrono::duration<double>(events_.back().end - events_.front().begin).count();
  size_t hint = 0;
  for (const OpEvent& event : events_) add(sums, event, hint);
}

void Profile::clear() {
  sums_ = {};
  dropped_ = 0;
}

/// Steps of a kind are alike: what follows an operation is mostly what followed it before.
void Profile::add(StepSums& sums, const OpEvent& event, size_t& hint) const {
  const auto same = [&](const OpSum& sum) {
    return sum.what.op == event.op && sum.what.visit == event.visit && sum.what.role == event.role &&
           sum.what.matrices == event.matrices;
  };
  std::vector<OpSum>& all = sums.operations;
  if (hint >= all.size() || !same(all[hint])) {
    hint = static_cast<size_t>(std::ranges::find_if(all, same) - all.begin());
    if (hint == all.size()) {
      all.push_back({.what = event});
      all.back().what.cost = {};
    }
  }
  OpSum& sum = all[hint++];
  ++sum.calls;
  sum.seconds += std::chrono::duration<double>(event.end - event.begin).count();
  sum.what.cost += event.cost;
}

void Profile::enter(int visit, int layer, std::string_view role) {
  next_.visit = visit;
  next_.layer = layer;
  next_.role = role;
}

void Profile::lap(Op op, const OpCost& cost, std::span<const Linear* const> matrices) {
  next_.end = Clock::now() - origin_;
  if (events_.size() == events_.capacity()) {
    ++dropped_;
    events_.back().end = next_.end;
  } else {
    OpEvent& event = events_.emplace_back(next_);
    event.op = op;
    event.cost = cost;
    std::copy_n(matrices.begin(), std::min(matrices.size(), event.matrices.size()), event.matrices.begin());
  }
  next_.begin = next_.end;
}

}  // namespace lamina::layers
