#include <algorithm>
#include <array>

#include "kernels/attention.h"
#include "layers/attention_cost.h"
#include "layers/border.h"
#include "layers/layer.h"
#include "layers/rows.h"

namespace lamina::layers {

namespace {

using core::ErrorCode;
using core::fail;
using core::Result;

constexpr int64_t kTileRows = kernels::kAttentionTileRows;  // queries that share a pass over the keys
constexpr int64_t kMaxGroup = 256;                          // query heads per key-value head

/// stream += o(attention(q, k, v)) with q from norm(input), k and v from the encoder's output: every row sees every
/// position of its sequence's encoded text. Vaswani et al. 2017, 3.2.3.
class CrossAttention : public Sublayer {
 public:
  /// Reads {hidden, heads, kv_heads, head_size, value_size, scale, q, k, v, o} and what Border reads.
  static Result<std::unique_ptr<Sublayer>> make(Record& record, BuildContext& context);

  void forward(Step& step, const float* input, float* stream) const override;
  void encode(Step& step, const float* encoded) const override;
  int64_t arena_bytes(const StepLimits& limits) const override;
  int64_t scratch_bytes(const StepLimits& limits) const override;
  cache::VisitShape encoded_shape() const override {
    return {.kv_heads = kv_heads_, .key_size = head_size_, .value_size = value_size_};
  }
  std::vector<const Linear*> linears() const override { return {q_.get(), k_.get(), v_.get(), o_.get()}; }

 private:
  /// Tokens of one sequence that meet one key-value head together.
  struct Tile {
    const RowGroup& group;
    int64_t first = 0;  ///< row of the batch
    int64_t tokens = 0;
    int64_t kv_head = 0;
  };

  void attend(const Step& step, const float* queries, float* out) const;
  void attend_tile(const Step& step, const Tile& tile, int thread, const float* queries, float* out) const;
  int64_t group_size() const { return heads_ / kv_heads_; }
  int64_t tile_tokens() const { return std::max<int64_t>(1, kTileRows / group_size()); }

  int64_t heads_ = 0;
  int64_t kv_heads_ = 0;
  int64_t head_size_ = 0;
  int64_t value_size_ = 0;
  float scale_ = 0;
  Border border_;
  std::shared_ptr<const Linear> q_;
  std::shared_ptr<const Linear> k_;
  std::shared_ptr<const Linear> v_;
  std::shared_ptr<const Linear> o_;
};

Result<std::unique_ptr<Sublayer>> CrossAttention::make(Record& record, BuildContext& context) {
  auto attention = std::make_unique<CrossAttention>();
  CrossAttention& self = *attention;
  LAMINA_ASSIGN(const int64_t hidden, record.size("hidden"));
  if (context.encoded == 0)
    return fail(ErrorCode::kInvalid, record.place(), "cross attention needs an encoder; the architecture names none");
  LAMINA_ASSIGN(self.heads_, record.size("heads"));
  LAMINA_ASSIGN(self.kv_heads_, record.size("kv_heads"));
  LAMINA_ASSIGN(self.head_size_, record.size("head_size"));
  LAMINA_ASSIGN(self.value_size_, record.size("value_size"));
  LAMINA_ASSIGN(const double scale, record.number("scale"));
  self.scale_ = static_cast<float>(scale);
  if (self.heads_ % self.kv_heads_ != 0 || self.group_size() > kMaxGroup) {
    return fail(ErrorCode::kCorrupt, record.place(),
                "{} heads cannot share {} key-value heads; a multiple, at most {} times as many, expected", self.heads_,
                self.kv_heads_, kMaxGroup);
  }
  LAMINA_ASSIGN(self.border_, Border::make(record, context.weights, hidden));
  LAMINA_ASSIGN(Record q, record.child("q"));
  LAMINA_ASSIGN(self.q_, context.weights.linear(q, self.heads_ * self.head_size_, hidden));
  LAMINA_ASSIGN(Record k, record.child("k"));
  LAMINA_ASSIGN(self.k_, context.weights.linear(k, self.kv_heads_ * self.head_size_, context.encoded));
  LAMINA_ASSIGN(Record v, record.child("v"));
  LAMINA_ASSIGN(self.v_, context.weights.linear(v, self.kv_heads_ * self.value_size_, context.encoded));
  LAMINA_ASSIGN(Record o, record.child("o"));
  LAMINA_ASSIGN(self.o_, context.weights.linear(o, hidden, self.heads_ * self.value_size_));
  return attention;
}

void CrossAttention::encode(Step& step, const float* encoded) const {
  auto* keys = step.arena.take<float>(step.rows * kv_heads_ * head_size_);
  auto* values = step.arena.take<float>(step.rows * kv_heads_ * value_size_);
  const std::array products{Product{.linear = k_.get(), .y = keys, .y_stride = kv_heads_ * head_size_},
                            Product{.linear = v_.get(), .y = values, .y_stride = kv_heads_ * value_size_}};
  run_products(step, products, encoded, step.rows);
  split_rows(step.pool, step.rows, [&](int64_t begin, int64_t end) {
    for (const RowGroup& group : step.groups) {
      const int64_t first = std::max(begin, group.first_row);
      const int64_t last = std::min(end, group.first_row + group.rows);
      for (int64_t row = first; row < last; ++row) {
        step.encoded->write(step.layer, group.sequence, group.first_position + row - group.first_row,
                            keys + row * kv_heads_ * head_size_, values + row * kv_heads_ * value_size_);
      }
    }
  });
  step.lap(Op::kRotate);
}

void CrossAttention::forward(Step& step, const float* input, float* stream) const {
  const float* normed = border_.enter(step, input);
  auto* queries = step.arena.take<float>(step.rows * heads_ * head_size_);
  auto* out = step.arena.take<float>(step.rows * heads_ * value_size_);
  run_products(step, std::array{Product{.linear = q_.get(), .y = queries, .y_stride = heads_ * head_size_}}, normed,
               step.rows);
  attend(step, queries, out);
  lap_attention(step, step.encoded->visits()[static_cast<size_t>(step.layer)], heads_,
                [&](const RowGroup& group, int64_t) { return core::Range{0, step.encoded->length(group.sequence)}; });
  border_.leave(step, *o_, out, stream);
}

/// Tiles of tokens times key-value heads, dealt to the threads in turn.
void CrossAttention::attend(const Step& step, const float* queries, float* out) const {
  step.pool.run([&](int index, int threads) {
    int64_t task = 0;
    for (const RowGroup& group : step.groups) {
      for (int64_t token = 0; token < group.rows; token += tile_tokens()) {
        for (int64_t kv_head = 0; kv_head < kv_heads_; ++kv_head) {
          if (task++ % threads != index) continue;
          attend_tile(step,
                      {.group = group,
                       .first = group.first_row + token,
                       .tokens = std::min(tile_tokens(), group.rows - token),
                       .kv_head = kv_head},
                      index, queries, out);
        }
      }
    }
  });
}

void CrossAttention::attend_tile(const Step& step, const Tile& tile, int thread, const float* queries,
                                 float* out) const {
  std::array<kernels::AttentionRow, kMaxGroup> rows;
  const cache::SequenceId sequence = tile.group.sequence;
  const int64_t last_key = step.encoded->length(sequence) - 1;
  int64_t count = 0;
  for (int64_t row = tile.first; row < tile.first + tile.tokens; ++row) {
    for (int64_t head = tile.kv_head * group_size(); head < (tile.kv_head + 1) * group_size(); ++head) {
      rows[static_cast<size_t>(count++)] = {.query = queries + (row * heads_ + head) * head_size_,
                                            .out = out + (row * heads_ + head) * value_size_,
                                            .first_key = 0,
                                            .last_key = last_key};
    }
  }
  kernels::attention({.format = step.encoded->visits()[static_cast<size_t>(step.layer)].format,
                      .head_size = head_size_,
                      .value_size = value_size_,
                      .scale = scale_,
                      .key_chunks = step.encoded->key_chunks(step.layer, sequence, tile.kv_head).data(),
                      .value_chunks = step.encoded->value_chunks(step.layer, sequence, tile.kv_head).data(),
                      .rows = count,
                      .row_list = rows.data(),
                      .scratch = reinterpret_cast<float*>(step.thread_scratch[static_cast<size_t>(thread)])});
}

int64_t CrossAttention::arena_bytes(const StepLimits& limits) const {
  const auto floats = [](int64_t count) { return static_cast<int64_t>(Arena::padded(count * 4)); };
  const int64_t forward = border_.arena_bytes(limits.rows) + floats(limits.rows * heads_ * head_size_) +
                          floats(limits.rows * heads_ * value_size_) +
                          product_bytes(std::array<const Linear*, 1>{q_.get()}, limits.rows) +
                          product_bytes(std::array<const Linear*, 1>{o_.get()}, limits.rows);
  const int64_t encode = floats(limits.rows * kv_heads_ * head_size_) + floats(limits.rows * kv_heads_ * value_size_) +
                         product_bytes(std::array<const Linear*, 2>{k_.get(), v_.get()}, limits.rows);
  return std::max(forward, encode);
}

int64_t CrossAttention::scratch_bytes(const StepLimits& limits) const {
  return std::max(
      product_scratch_bytes(std::array<const Linear*, 4>{q_.get(), k_.get(), v_.get(), o_.get()}, limits.rows),
      kernels::attention_scratch_floats(head_size_, value_size_) * 4);
}

}  // namespace

Result<std::unique_ptr<Sublayer>> make_cross_attention(Record& record, BuildContext& context) {
  return CrossAttention::make(record, context);
}

}  // namespace lamina::layers
