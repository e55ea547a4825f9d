#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <map>
#include <vector>

#include "layers/input_recorder.h"

namespace lamina::stats {

/// Spans of positions or distances: 0, 1, 2-3, 4-7, ..., the last one without end.
inline constexpr size_t kSpans = 24;
inline size_t span_of(int64_t number) {
  const auto span = static_cast<size_t>(std::bit_width(static_cast<uint64_t>(number)));
  return span < kSpans ? span : kSpans - 1;
}
/// Where a span begins.
inline int64_t span_begin(size_t span) {
  return span == 0 ? 0 : int64_t{1} << (span - 1);
}

/// How one head spreads its attention, summed over the rows of text.
struct HeadSums {
  double entropy = 0;                      ///< nats, of the shares of the keys and of the sink's logit
  double sink = 0;                         ///< share of a logit that is no key
  std::array<double, kSpans> positions{};  ///< share of the keys by their position in the text: sums of columns
  std::array<double, kSpans> distances{};  ///< share of the keys by their distance from the row

  HeadSums& operator+=(const HeadSums& other);
};
/// Numbers of HeadSums, in their order.
inline constexpr int64_t kHeadNumbers = 2 + 2 * static_cast<int64_t>(kSpans);
static_assert(sizeof(HeadSums) == kHeadNumbers * sizeof(double));

/// The heads of a layer.
struct AttentionStats {
  int layer = 0;
  int64_t rows = 0;
  std::vector<HeadSums> heads{};
};

/// What one row's softmax says of a head.
HeadSums measure_attention(const layers::AttentionScores& scores);

/// Sums up how heads spread their attention. A row's numbers depend on that row alone, and rows are added in their
/// order in float64: nothing depends on threads, or on how a text is cut into steps. Memory: kHeadNumbers for each head
/// of each layer, and for each row and head of a step.
class AttentionSums : public layers::AttentionRecorder {
 public:
  void begin(int layer, int64_t rows, int64_t heads) override;
  void record(const layers::AttentionScores& scores) override;
  void end() override;
  /// What was seen so far, by layer.
  std::vector<AttentionStats> sums() const;

 private:
  std::map<int, AttentionStats> layers_;
  std::vector<HeadSums> step_;  ///< [rows, heads] of the layer at hand
  int layer_ = 0;
  int64_t rows_ = 0;
  int64_t heads_ = 0;
};

}  // namespace lamina::stats
