#include "text/grammar_machine.h"

#include <algorithm>
#include <utility>

namespace lamina::text {

namespace {

/// Mixes a number into a hash (the finalizer of SplitMix64).
uint64_t mixed(uint64_t hash, uint64_t value) {
  uint64_t x = hash + value + 0x9E3779B97F4A7C15U;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31);
}

uint64_t pair_of(int32_t high, int32_t low) {
  return (uint64_t{static_cast<uint32_t>(high)} << 32) | static_cast<uint32_t>(low);
}

}  // namespace

size_t GrammarMachine::ListHash::operator()(const std::vector<int32_t>& list) const {
  uint64_t hash = list.size();
  for (const int32_t value : list) hash = mixed(hash, static_cast<uint32_t>(value));
  return hash;
}

size_t GrammarMachine::FrameHash::operator()(const FrameKey& key) const {
  return mixed(mixed(0, pair_of(key.node, key.count)), static_cast<uint32_t>(key.parent));
}

int32_t GrammarMachine::frame_of(int32_t node, int32_t count, int32_t parent) {
  const auto [entry, added] =
      frame_numbers_.emplace(FrameKey{node, count, parent}, static_cast<int32_t>(frames_.size()));
  if (!added) return entry->second;
  const int32_t depth = parent < 0 ? 0 : frame(parent).depth + 1;
  frames_.push_back({.node = node, .count = count, .parent = parent, .depth = depth});
  seen_.push_back(0);
  overflowed_ = overflowed_ || frames_.size() > kMaxFrames;
  return entry->second;
}

void GrammarMachine::push(int32_t node, int32_t count, int32_t parent) {
  work_.push_back(frame_of(node, count, parent));
}

/// The count goes along inside its loop.
int32_t GrammarMachine::carried(const Frame& frame, int32_t target) const {
  const int32_t loop = program_->nodes[static_cast<size_t>(target)].loop;
  return loop >= 0 && loop == program_->nodes[static_cast<size_t>(frame.node)].loop ? frame.count : 0;
}

void GrammarMachine::follow(const Frame& frame, const GrammarProgram::Edge& edge) {
  using Kind = GrammarProgram::Edge::Kind;
  switch (edge.kind) {
    case Kind::kBytes:
      return;
    case Kind::kFree:
      push(edge.target, carried(frame, edge.target), frame.parent);
      return;
    case Kind::kCall:
      if (frame.depth >= kMaxDepth) return;
      push(edge.callee, 0, frame_of(edge.target, carried(frame, edge.target), frame.parent));
      return;
    case Kind::kTail:
      push(edge.callee, 0, frame.parent);
      return;
    case Kind::kAgain: {
      if (frame.count < 0) {
        push(edge.target, frame.count, frame.parent);
        return;
      }
      if (edge.bound >= 0 && frame.count >= edge.bound) return;
      const auto& loop = program_->loops[static_cast<size_t>(program_->nodes[static_cast<size_t>(frame.node)].loop)];
      push(edge.target, edge.bound < 0 ? std::min(frame.count + 1, loop.least) : frame.count + 1, frame.parent);
      return;
    }
    case Kind::kLeave:
      if (frame.count >= edge.bound || frame.count == kFar) push(edge.target, 0, frame.parent);
      return;
  }
}

int32_t GrammarMachine::close() {
  ++round_;
  Place place;
  while (!work_.empty()) {
    const int32_t number = work_.back();
    work_.pop_back();
    if (std::exchange(seen_[static_cast<size_t>(number)], round_) == round_) continue;
    const Frame own = frame(number);
    const GrammarProgram::Node& node = program_->nodes[static_cast<size_t>(own.node)];
    if (node.reads) place.frames.push_back(number);
    if (node.ends && own.parent < 0) place.ends = true;
    if (node.ends && own.parent >= 0) work_.push_back(own.parent);
    for (const auto& edge : program_->edges_of(own.node)) follow(own, edge);
    if (overflowed_) work_.clear();
  }
  if (place.frames.empty() && !place.ends) return kDead;
  std::ranges::sort(place.frames);
  std::vector<int32_t> key = place.frames;
  if (place.ends) key.push_back(-1);
  const auto [entry, added] = place_numbers_.emplace(std::move(key), static_cast<int32_t>(places_.size()));
  if (!added) return entry->second;
  if (places_.size() >= kMaxPlaces) overflowed_ = true;
  places_.push_back(std::move(place));
  steps_.emplace_back().fill(kUnknown);
  return entry->second;
}

int32_t GrammarMachine::at_node(int32_t node, int32_t count) {
  push(node, count, -1);
  return close();
}

int32_t GrammarMachine::at_frame(int32_t frame) {
  work_.push_back(frame);
  return close();
}

int32_t GrammarMachine::find_step(int32_t place, uint8_t byte) {
  if (overflowed_) return kDead;
  // Copied: pushing may move what it lies in.
  const std::vector<int32_t> tops = places_[static_cast<size_t>(place)].frames;
  for (const int32_t top : tops) {
    const Frame own = frame(top);
    for (const auto& edge : program_->edges_of(own.node)) {
      const bool reads = edge.kind == GrammarProgram::Edge::Kind::kBytes && byte >= edge.low && byte <= edge.high;
      if (reads) push(edge.target, carried(own, edge.target), own.parent);
    }
  }
  const int32_t next = work_.empty() ? kDead : close();
  steps_[static_cast<size_t>(place)][byte] = next;
  return next;
}

int32_t GrammarMachine::step(int32_t place, std::string_view bytes) {
  for (const char byte : bytes) place = step(place, static_cast<uint8_t>(byte));
  return place;
}

int32_t GrammarMachine::forget_but(int32_t place) {
  // Stacks from their tops down, as nodes and counts.
  std::vector<std::vector<Frame>> stacks;
  for (const int32_t top : frames(place)) {
    stacks.emplace_back();
    for (int32_t at = top; at >= 0; at = frame(at).parent) stacks.back().push_back(frame(at));
  }
  const bool ends_there = ends(place);
  *this = GrammarMachine(*program_);
  Place kept{.ends = ends_there};
  for (const std::vector<Frame>& stack : stacks) {
    int32_t parent = -1;
    for (size_t i = stack.size(); i-- > 0;) parent = frame_of(stack[i].node, stack[i].count, parent);
    kept.frames.push_back(parent);
  }
  std::ranges::sort(kept.frames);
  std::vector<int32_t> key = kept.frames;
  if (ends_there) key.push_back(-1);
  place_numbers_.emplace(std::move(key), 0);
  places_.push_back(std::move(kept));
  steps_.emplace_back().fill(kUnknown);
  return 0;
}

}  // namespace lamina::text
