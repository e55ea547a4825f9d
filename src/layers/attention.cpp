#include "kernels/attention.h"

#include <algorithm>
#include <array>

#include "layers/attention_cost.h"
#include "layers/attention_scores.h"
#include "layers/border.h"
#include "layers/layer.h"
#include "layers/relative_bias.h"
#include "layers/rope.h"
#include "layers/rows.h"

namespace lamina::layers {

namespace {

using core::ErrorCode;
using core::fail;
using core::Result;

constexpr int64_t kTileRows = kernels::kAttentionTileRows;  // queries that share a pass over the keys
constexpr int64_t kMaxGroup = 256;                          // query heads per key-value head
constexpr int64_t kFewRows = 4;                             // so few rows that the keys are split over the threads too

/// stream += o(attention(q, k, v)) with q, k, v from norm(input): grouped heads, rotary positions, an optional window.
/// Unless causal, a row sees all rows of its text. Vaswani et al. 2017; grouped heads: Ainslie et al. 2023.
class Attention : public Sublayer {
 public:
  static Result<std::unique_ptr<Sublayer>> make(Record& record, BuildContext& context);

  void forward(Step& step, const float* input, float* stream) const override;
  bool keep(Step& step, const float* input) const override;
  int64_t arena_bytes(const StepLimits& limits) const override;
  int64_t scratch_bytes(const StepLimits& limits) const override;
  cache::VisitShape cache_shape() const override {
    return {.kv_heads = kv_heads_, .key_size = head_size_, .value_size = value_size_, .window = causal_ ? window_ : 0};
  }
  bool reads_ahead() const override { return !causal_; }
  std::vector<const Linear*> linears() const override { return {q_.get(), k_.get(), v_.get(), o_.get()}; }

 private:
  /// Queries, keys and values of a step, row by row, heads side by side; and what attention makes of them.
  struct Heads {
    float* q = nullptr;
    float* k = nullptr;
    float* v = nullptr;
    float* out = nullptr;
  };

  core::Status read_norms(Record& record, Weights& weights);
  core::Status read_sinks(Record& record, Weights& weights);
  void store(Step& step, const Heads& heads) const;
  /// Calls use(arguments, tile) with tiles of tokens times key-value heads, which are dealt to the threads in turn:
  /// later tiles see more keys.
  template <typename Use>
  void for_tiles(Step& step, const Heads& heads, Use&& use) const;
  void attend(Step& step, const Heads& heads) const;
  void record(Step& step, const Heads& heads) const;
  void attend_split_keys(Step& step, const Heads& heads) const;
  kernels::AttentionArgs arguments(const Step& step, const RowGroup& group, int64_t kv_head, int index) const;
  int64_t fill_rows(const RowGroup& group, int64_t first_token, int64_t tokens, int64_t kv_head, const Heads& heads,
                    kernels::AttentionRow* rows) const;
  /// The last key that the row at `position` sees: its own, or the last one of its text within the window.
  int64_t last_key(const RowGroup& group, int64_t position) const {
    if (causal_) return position;
    const int64_t end = group.first_position + group.rows - 1;
    return window_ == 0 ? end : std::min(end, position + window_ - 1);
  }
  int64_t first_key(int64_t position) const { return window_ == 0 ? 0 : std::max<int64_t>(0, position - window_ + 1); }
  int64_t group_size() const { return heads_ / kv_heads_; }
  int64_t tile_tokens() const { return std::max<int64_t>(1, kTileRows / group_size()); }
  int64_t partial_floats(int64_t rows, int64_t positions) const {
    const int64_t segments = (positions + kernels::kSegmentKeys - 1) / kernels::kSegmentKeys;
    return segments * rows * group_size() * kernels::attention_state_floats(value_size_);
  }

  int64_t heads_ = 0;
  int64_t kv_heads_ = 0;
  int64_t head_size_ = 0;
  int64_t value_size_ = 0;
  int64_t window_ = 0;
  bool causal_ = true;
  float scale_ = 0;
  float soft_cap_ = 0;
  Border border_;
  std::optional<Rotation> rotation_;
  std::optional<RelativeBias> bias_;
  std::optional<Norm> q_norm_;
  std::optional<Norm> k_norm_;
  std::vector<float> sinks_;  ///< a logit per head, or none
  std::shared_ptr<const Linear> q_;
  std::shared_ptr<const Linear> k_;
  std::shared_ptr<const Linear> v_;
  std::shared_ptr<const Linear> o_;
};

Result<std::unique_ptr<Sublayer>> Attention::make(Record& record, BuildContext& context) {
  auto attention = std::make_unique<Attention>();
  Attention& self = *attention;
  LAMINA_ASSIGN(const int64_t hidden, record.size("hidden"));
  LAMINA_ASSIGN(self.heads_, record.size("heads"));
  LAMINA_ASSIGN(self.kv_heads_, record.size("kv_heads"));
  LAMINA_ASSIGN(self.head_size_, record.size("head_size"));
  LAMINA_ASSIGN(self.value_size_, record.size("value_size"));
  LAMINA_ASSIGN(self.window_, record.size_or_zero("window"));
  LAMINA_ASSIGN(self.causal_, record.flag_or("causal", true));
  LAMINA_ASSIGN(const double scale, record.number("scale"));
  LAMINA_ASSIGN(const double soft_cap, record.number_or("soft_cap", 0));
  self.scale_ = static_cast<float>(scale);
  self.soft_cap_ = static_cast<float>(soft_cap);
  if (self.heads_ % self.kv_heads_ != 0 || self.group_size() > kMaxGroup) {
    return fail(ErrorCode::kCorrupt, record.place(),
                "{} heads cannot share {} key-value heads; a multiple, at most {} times as many, expected", self.heads_,
                self.kv_heads_, kMaxGroup);
  }
  LAMINA_ASSIGN(self.border_, Border::make(record, context.weights, hidden));
  LAMINA_CHECK_OK(self.read_norms(record, context.weights));
  LAMINA_CHECK_OK(self.read_sinks(record, context.weights));
  LAMINA_ASSIGN(std::optional<Record> rope, record.optional_child("rope"));
  if (rope) {
    LAMINA_ASSIGN(self.rotation_, Rotation::make(*rope, context, self.head_size_));
  }
  LAMINA_ASSIGN(std::optional<Record> bias, record.optional_child("relative_bias"));
  if (bias) {
    LAMINA_ASSIGN(self.bias_, RelativeBias::make(*bias, context.weights, self.heads_, !self.causal_));
  }
  LAMINA_ASSIGN(Record q, record.child("q"));
  LAMINA_ASSIGN(self.q_, context.weights.linear(q, self.heads_ * self.head_size_, hidden));
  LAMINA_ASSIGN(Record k, record.child("k"));
  LAMINA_ASSIGN(self.k_, context.weights.linear(k, self.kv_heads_ * self.head_size_, hidden));
  LAMINA_ASSIGN(Record v, record.child("v"));
  LAMINA_ASSIGN(self.v_, context.weights.linear(v, self.kv_heads_ * self.value_size_, hidden));
  LAMINA_ASSIGN(Record o, record.child("o"));
  LAMINA_ASSIGN(self.o_, context.weights.linear(o, hidden, self.heads_ * self.value_size_));
  return attention;
}

/// Norms of queries and keys: over each head, or over all heads of a row together.
core::Status Attention::read_norms(Record& record, Weights& weights) {
  LAMINA_ASSIGN(const std::optional<std::string> over, record.optional_text("qk_norm"));
  if (!over) return {};
  if (*over != "head" && *over != "row") {
    return fail(ErrorCode::kInvalid, record.place(), "qk_norm \"{}\" is unknown; head or row expected", *over);
  }
  LAMINA_ASSIGN(Record q, record.child("q_norm"));
  LAMINA_ASSIGN(q_norm_, Norm::make(q, weights, *over == "head" ? head_size_ : heads_ * head_size_));
  LAMINA_ASSIGN(Record k, record.child("k_norm"));
  LAMINA_ASSIGN(k_norm_, Norm::make(k, weights, *over == "head" ? head_size_ : kv_heads_ * head_size_));
  return {};
}

core::Status Attention::read_sinks(Record& record, Weights& weights) {
  LAMINA_ASSIGN(const std::optional<std::string> name, record.optional_text("sinks"));
  if (!name) return {};
  LAMINA_ASSIGN(sinks_, weights.vector(*name, heads_));
  return {};
}

void Attention::forward(Step& step, const float* input, float* stream) const {
  const float* normed = border_.enter(step, input);
  const Heads heads{.q = step.arena.take<float>(step.rows * heads_ * head_size_),
                    .k = step.arena.take<float>(step.rows * kv_heads_ * head_size_),
                    .v = step.arena.take<float>(step.rows * kv_heads_ * value_size_),
                    .out = step.arena.take<float>(step.rows * heads_ * value_size_)};
  const std::array products{Product{.linear = q_.get(), .y = heads.q, .y_stride = heads_ * head_size_},
                            Product{.linear = k_.get(), .y = heads.k, .y_stride = kv_heads_ * head_size_},
                            Product{.linear = v_.get(), .y = heads.v, .y_stride = kv_heads_ * value_size_}};
  run_products(step, products, normed, step.rows);
  store(step, heads);
  step.lap(Op::kRotate);
  int64_t positions = 0;
  for (const RowGroup& group : step.groups) positions = std::max(positions, group.first_position + group.rows);
  if (step.rows <= kFewRows && step.pool.threads() > 1 && positions > kernels::kSegmentKeys) {
    attend_split_keys(step, heads);
  } else {
    attend(step, heads);
  }
  lap_attention(step, step.cache.visits()[static_cast<size_t>(step.visit)], heads_,
                [this](const RowGroup& group, int64_t position) {
                  return core::Range{first_key(position), last_key(group, position) + 1};
                });
  record(step, heads);
  border_.leave(step, *o_, heads.out, stream);
}

bool Attention::keep(Step& step, const float* input) const {
  const float* normed = border_.enter(step, input);
  const Heads heads{.k = step.arena.take<float>(step.rows * kv_heads_ * head_size_),
                    .v = step.arena.take<float>(step.rows * kv_heads_ * value_size_)};
  const std::array products{Product{.linear = k_.get(), .y = heads.k, .y_stride = kv_heads_ * head_size_},
                            Product{.linear = v_.get(), .y = heads.v, .y_stride = kv_heads_ * value_size_}};
  run_products(step, products, normed, step.rows);
  store(step, heads);
  step.lap(Op::kRotate);
  return true;
}

/// Norms and rotation of queries, where there are some, and of keys; keys and values go into the cache.
void Attention::store(Step& step, const Heads& heads) const {
  split_rows(step.pool, step.rows, [&](int64_t begin, int64_t end) {
    float* q = heads.q == nullptr ? nullptr : heads.q + begin * heads_ * head_size_;
    float* k = heads.k + begin * kv_heads_ * head_size_;
    if (q_norm_ && q != nullptr) q_norm_->apply(q, q, (end - begin) * heads_ * head_size_ / q_norm_->size());
    if (k_norm_) k_norm_->apply(k, k, (end - begin) * kv_heads_ * head_size_ / k_norm_->size());
    if (rotation_) {
      if (q != nullptr) rotation_->apply(step, begin, end, q, heads_, head_size_);
      rotation_->apply(step, begin, end, k, kv_heads_, head_size_);
    }
    for (const RowGroup& group : step.groups) {
      const int64_t first = std::max(begin, group.first_row);
      const int64_t last = std::min(end, group.first_row + group.rows);
      for (int64_t row = first; row < last; ++row) {
        step.cache.write(step.visit, group.sequence, group.first_position + row - group.first_row,
                         heads.k + row * kv_heads_ * head_size_, heads.v + row * kv_heads_ * value_size_);
      }
    }
  });
}

kernels::AttentionArgs Attention::arguments(const Step& step, const RowGroup& group, int64_t kv_head, int index) const {
  return {.format = step.cache.visits()[static_cast<size_t>(step.visit)].format,
          .head_size = head_size_,
          .value_size = value_size_,
          .scale = scale_,
          .soft_cap = soft_cap_,
          .bias_reach = bias_ ? bias_->reach() : 0,
          .key_chunks = step.cache.key_chunks(step.visit, group.sequence, kv_head).data(),
          .value_chunks = step.cache.value_chunks(step.visit, group.sequence, kv_head).data(),
          .scratch = reinterpret_cast<float*>(step.thread_scratch[static_cast<size_t>(index)])};
}

/// Lists the queries of some tokens for one key-value head; returns how many.
int64_t Attention::fill_rows(const RowGroup& group, int64_t first_token, int64_t tokens, int64_t kv_head,
                             const Heads& heads, kernels::AttentionRow* rows) const {
  int64_t count = 0;
  for (int64_t token = first_token; token < first_token + tokens; ++token) {
    const int64_t row = group.first_row + token;
    const int64_t position = group.first_position + token;
    for (int64_t head = kv_head * group_size(); head < (kv_head + 1) * group_size(); ++head) {
      rows[count++] = {.query = heads.q + (row * heads_ + head) * head_size_,
                       .out = heads.out + (row * heads_ + head) * value_size_,
                       .first_key = first_key(position),
                       .last_key = last_key(group, position),
                       .bias = bias_ ? bias_->table(head) : nullptr,
                       .position = position};
      if (!sinks_.empty()) rows[count - 1].sink = sinks_[static_cast<size_t>(head)];
    }
  }
  return count;
}

template <typename Use>
void Attention::for_tiles(Step& step, const Heads& heads, Use&& use) const {
  step.pool.run([&](int index, int threads) {
    std::array<kernels::AttentionRow, kMaxGroup> rows;
    int64_t task = 0;
    for (const RowGroup& group : step.groups) {
      for (int64_t token = 0; token < group.rows; token += tile_tokens()) {
        for (int64_t kv_head = 0; kv_head < kv_heads_; ++kv_head) {
          if (task++ % threads != index) continue;
          kernels::AttentionArgs args = arguments(step, group, kv_head, index);
          args.rows = fill_rows(group, token, std::min(tile_tokens(), group.rows - token), kv_head, heads, rows.data());
          args.row_list = rows.data();
          use(args, ScoredTile{.first_row = group.first_row + token,
                               .first_position = group.first_position + token,
                               .first_head = kv_head * group_size(),
                               .heads = group_size()});
        }
      }
    }
  });
}

void Attention::attend(Step& step, const Heads& heads) const {
  for_tiles(step, heads, [](const kernels::AttentionArgs& args, const ScoredTile&) { kernels::attention(args); });
}

/// For statistics: how each head spreads its attention.
void Attention::record(Step& step, const Heads& heads) const {
  AttentionRecorder* recorder = attention_recorder(step);
  if (recorder == nullptr) return;
  recorder->begin(step.layer, step.rows, heads_);
  for_tiles(step, heads, [recorder](const kernels::AttentionArgs& args, const ScoredTile& tile) {
    record_scores(args, tile, *recorder);
  });
  recorder->end();
  step.lap(Op::kHook);
}

/// Few rows over many keys: segments of keys are tasks too, and their states are merged in order. Same bits as
/// attend().
void Attention::attend_split_keys(Step& step, const Heads& heads) const {
  for (const RowGroup& group : step.groups) {
    for (int64_t token = 0; token < group.rows; ++token) {
      const int64_t positions = last_key(group, group.first_position + token) + 1;
      const int64_t segments = (positions + kernels::kSegmentKeys - 1) / kernels::kSegmentKeys;
      const int64_t state = partial_floats(1, kernels::kSegmentKeys);
      auto* partial = step.arena.take<float>(kv_heads_ * segments * state);
      step.pool.run([&](int index, int threads) {
        std::array<kernels::AttentionRow, kMaxGroup> rows;
        const core::Range range = core::split_range(kv_heads_ * segments, 1, index, threads);
        for (int64_t task = range.begin; task < range.end; ++task) {
          const int64_t kv_head = task / segments;
          kernels::AttentionArgs args = arguments(step, group, kv_head, index);
          args.rows = fill_rows(group, token, 1, kv_head, heads, rows.data());
          args.row_list = rows.data();
          kernels::attention_segments(args, task % segments, task % segments + 1, partial + task * state);
        }
      });
      std::array<kernels::AttentionRow, kMaxGroup> rows;
      for (int64_t kv_head = 0; kv_head < kv_heads_; ++kv_head) {
        kernels::AttentionArgs args = arguments(step, group, kv_head, 0);
        args.rows = fill_rows(group, token, 1, kv_head, heads, rows.data());
        args.row_list = rows.data();
        kernels::attention_merge(args, segments, partial + kv_head * segments * state, 0, args.rows);
      }
    }
  }
}

int64_t Attention::arena_bytes(const StepLimits& limits) const {
  const auto floats = [](int64_t count) { return static_cast<int64_t>(Arena::padded(count * 4)); };
  const std::array<const Linear*, 3> first{q_.get(), k_.get(), v_.get()};
  const std::array<const Linear*, 1> second{o_.get()};
  return border_.arena_bytes(limits.rows) + floats(limits.rows * heads_ * head_size_) +
         floats(limits.rows * kv_heads_ * head_size_) + floats(limits.rows * kv_heads_ * value_size_) +
         floats(limits.rows * heads_ * value_size_) + product_bytes(first, limits.rows) +
         product_bytes(second, limits.rows) + kFewRows * floats(kv_heads_ * partial_floats(1, limits.positions));
}

int64_t Attention::scratch_bytes(const StepLimits& limits) const {
  return std::max(
      product_scratch_bytes(std::array<const Linear*, 4>{q_.get(), k_.get(), v_.get(), o_.get()}, limits.rows),
      kernels::attention_scratch_floats(head_size_, value_size_) * 4);
}

}  // namespace

Result<std::unique_ptr<Sublayer>> make_attention(Record& record, BuildContext& context) {
  return Attention::make(record, context);
}

}  // namespace lamina::layers
