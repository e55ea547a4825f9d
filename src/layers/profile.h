#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace lamina::layers {

class Linear;

/// What a step spends time on.
enum class Op : uint8_t {
  kEmbedding,
  kAngles,
  kNorm,
  kQuantize,
  kProduct,
  kRotate,
  kAttention,
  kActivation,
  kRouting,
  kConvolution,
  kStateSpace,
  kCopy,
  kHook,
};

/// The name that reports print.
std::string_view op_name(Op op);

/// What an operation must do at least: bytes of weights or of the cache that it reads, and arithmetic, two operations
/// per multiply-add.
struct OpCost {
  int64_t bytes = 0;
  int64_t int8 = 0;
  int64_t float32 = 0;

  OpCost& operator+=(const OpCost& other);
};

/// One operation of one step.
struct OpEvent {
  Op op = Op::kCopy;
  int visit = -1;                           ///< place in the route; -1: not of a layer
  int layer = -1;                           ///< index of the layer
  std::string_view role;                    ///< the layer's part, or "embedding" or "head"
  std::array<const Linear*, 3> matrices{};  ///< of products: the first ones that share the input
  std::chrono::nanoseconds begin{};         ///< since the profile was made
  std::chrono::nanoseconds end{};
  OpCost cost;
};

/// An operation summed over steps: the same place, operation and matrices.
struct OpSum {
  OpEvent what;  ///< without times; cost is the sum
  int64_t calls = 0;
  double seconds = 0;
};

/// Steps in which some sequence takes more than one token, and steps that add one to each.
enum class StepKind : uint8_t { kReading, kWriting };

/// Sums of one kind of step.
struct StepSums {
  int64_t steps = 0;
  double seconds = 0;             ///< of whole steps
  std::vector<OpSum> operations;  ///< in the order in which they first occurred
};

/// Records where the time of steps goes. Time is cut, not sampled: each operation is charged all that passed since the
/// one before it ended, so the parts add up to the whole. One clock is read per operation; nothing is allocated
/// between start() and finish().
class Profile {
 public:
  /// Room for that many operations of one step; those beyond are counted, and added to the last one.
  explicit Profile(size_t capacity = 1 << 16);

  /// Begins a step; its events replace those of the step before.
  void start(StepKind kind);
  /// Ends it: what happened is added to the sums.
  void finish();
  /// Names what comes next.
  void enter(int visit, int layer, std::string_view role);
  /// All since the last lap was this operation.
  void lap(Op op, const OpCost& cost = {}, std::span<const Linear* const> matrices = {});

  /// Of the last step.
  std::span<const OpEvent> events() const { return events_; }
  const StepSums& sums(StepKind kind) const { return sums_[static_cast<size_t>(kind)]; }
  int64_t dropped() const { return dropped_; }
  /// Forgets all sums.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;

  void add(StepSums& sums, const OpEvent& event, size_t& hint) const;

  std::vector<OpEvent> events_;
  std::array<StepSums, 2> sums_;
  StepKind kind_ = StepKind::kReading;
  OpEvent next_;  ///< what the next event has in common with the last one
  Clock::time_point origin_ = Clock::now();
  int64_t dropped_ = 0;
};

}  // namespace lamina::layers
