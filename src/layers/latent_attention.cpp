#include <algorithm>
#include <array>
#include <cstring>

#include "kernels/attention.h"
#include "layers/attention_cost.h"
#include "layers/attention_scores.h"
#include "layers/border.h"
#include "layers/head_products.h"
#include "layers/layer.h"
#include "layers/rope.h"
#include "layers/rows.h"

namespace lamina::layers {

namespace {

using core::ErrorCode;
using core::fail;
using core::Result;

constexpr int64_t kTileRows = kernels::kAttentionTileRows;  // queries that share a pass over the keys
constexpr int64_t kMaxHeads = 256;
constexpr int64_t kFewRows = 4;     // so few rows that heads and keys are split over the threads too
constexpr int64_t kLeastHeads = 6;  // fewer in a task would read a chunk for too little work

/// stream += o(attention) where all heads share one key per position: a normed latent and a rotated part, kept once,
/// of which the latent is the value too. Queries are carried into the space of the latents, results out of it, each by
/// the head's part of kv_b. DeepSeek-AI 2024 (V2), equations 9 to 19 and appendix C.
class LatentAttention : public Sublayer {
 public:
  static Result<std::unique_ptr<Sublayer>> make(Record& record, BuildContext& context);

  void forward(Step& step, const float* input, float* stream) const override;
  int64_t arena_bytes(const StepLimits& limits) const override;
  int64_t scratch_bytes(const StepLimits& limits) const override;
  cache::VisitShape cache_shape() const override {
    return {.kv_heads = 1, .key_size = key_size(), .value_size = latent_, .joined = true};
  }
  std::vector<const Linear*> linears() const override;

 private:
  /// Values of a step, row by row, heads side by side.
  struct Work {
    float* low = nullptr;      ///< [rows, query_rank]
    float* q = nullptr;        ///< [rows, heads, nope + rotary]
    float* kv = nullptr;       ///< [rows, latent + rotary]
    float* queries = nullptr;  ///< [rows, heads, latent + rotary]
    float* latents = nullptr;  ///< [rows, heads, latent], what attention makes
    float* out = nullptr;      ///< [rows, heads, value]
    float* partial = nullptr;  ///< softmax states of one row
  };
  /// Neighbouring heads that one call of the kernel takes.
  struct Slices {
    int64_t count = 1;
    int64_t heads = 0;
  };

  core::Status read_sizes(Record& record);
  core::Status read_queries(Record& record, Weights& weights, int64_t hidden);
  core::Status read_heads(Record& record, Weights& weights);
  core::Status read_split_heads(const Record& keys, const Record& values, Weights& weights);
  core::Status read_joint_heads(const std::string& name, Weights& weights);
  core::Status check_alike(const std::string& place, const HeadLinears& heads) const;
  Work take_work(Step& step) const;
  void project(Step& step, const float* normed, const Work& work) const;
  void store(Step& step, const Work& work) const;
  /// Calls use(arguments, tile) with tiles of tokens times slices of heads, which are dealt to the threads in turn:
  /// later tiles see more keys.
  template <typename Use>
  void for_tiles(Step& step, const Work& work, Use&& use) const;
  void attend(Step& step, const Work& work) const;
  void record(Step& step, const Work& work) const;
  void attend_row(Step& step, const RowGroup& group, int64_t token, const Work& work) const;
  kernels::AttentionArgs arguments(const Step& step, const RowGroup& group, int index) const;
  int64_t fill_rows(const RowGroup& group, core::Range tokens, core::Range heads, const Work& work,
                    kernels::AttentionRow* rows) const;
  core::Range heads_of(const Slices& slices, int64_t slice) const {
    return {slice * slices.heads, std::min(heads_, (slice + 1) * slices.heads)};
  }
  Slices slices(int64_t wanted) const {
    const int64_t count = std::clamp<int64_t>(wanted, 1, std::max<int64_t>(1, heads_ / kLeastHeads));
    const int64_t heads = (heads_ + count - 1) / count;
    return {.count = (heads_ + heads - 1) / heads, .heads = heads};
  }
  int64_t key_size() const { return latent_ + rotary_; }
  int64_t query_size() const { return nope_ + rotary_; }
  int64_t state_floats() const { return kernels::attention_state_floats(latent_); }

  int64_t heads_ = 0;
  int64_t latent_ = 0;
  int64_t nope_ = 0;
  int64_t rotary_ = 0;
  int64_t value_ = 0;
  int64_t query_rank_ = 0;  ///< 0: queries come from the input directly
  float scale_ = 0;
  Border border_;
  std::optional<Rotation> rotation_;
  std::optional<Norm> q_norm_;
  std::optional<Norm> kv_norm_;
  std::shared_ptr<const Linear> q_a_;
  std::shared_ptr<const Linear> q_;
  std::shared_ptr<const Linear> kv_a_;
  HeadLinears k_b_;  ///< [latent, nope] of each head
  HeadLinears v_b_;  ///< [value, latent]
  std::shared_ptr<const Linear> o_;
};

Result<std::unique_ptr<Sublayer>> LatentAttention::make(Record& record, BuildContext& context) {
  auto attention = std::make_unique<LatentAttention>();
  LatentAttention& self = *attention;
  LAMINA_ASSIGN(const int64_t hidden, record.size("hidden"));
  LAMINA_CHECK_OK(self.read_sizes(record));
  LAMINA_ASSIGN(self.border_, Border::make(record, context.weights, hidden));
  LAMINA_CHECK_OK(self.read_queries(record, context.weights, hidden));
  LAMINA_ASSIGN(Record kv_a, record.child("kv_a"));
  LAMINA_ASSIGN(self.kv_a_, context.weights.linear(kv_a, self.key_size(), hidden));
  LAMINA_ASSIGN(Record kv_norm, record.child("kv_norm"));
  LAMINA_ASSIGN(self.kv_norm_, Norm::make(kv_norm, context.weights, self.latent_));
  LAMINA_CHECK_OK(self.read_heads(record, context.weights));
  LAMINA_ASSIGN(Record o, record.child("o"));
  LAMINA_ASSIGN(self.o_, context.weights.linear(o, hidden, self.heads_ * self.value_));
  LAMINA_ASSIGN(Record rope, record.child("rope"));
  LAMINA_ASSIGN(self.rotation_, Rotation::make(rope, context, self.rotary_));
  return attention;
}

core::Status LatentAttention::read_sizes(Record& record) {
  LAMINA_ASSIGN(heads_, record.size("heads"));
  LAMINA_ASSIGN(latent_, record.size("latent"));
  LAMINA_ASSIGN(nope_, record.size("nope"));
  LAMINA_ASSIGN(rotary_, record.size("rotary"));
  LAMINA_ASSIGN(value_, record.size("value_size"));
  LAMINA_ASSIGN(query_rank_, record.size_or_zero("query_rank"));
  LAMINA_ASSIGN(const double scale, record.number("scale"));
  scale_ = static_cast<float>(scale);
  if (heads_ <= kMaxHeads) return {};
  return fail(ErrorCode::kUnsupported, record.place(), "{} heads; at most {} expected", heads_, kMaxHeads);
}

core::Status LatentAttention::read_queries(Record& record, Weights& weights, int64_t hidden) {
  LAMINA_ASSIGN(Record q, record.child("q"));
  LAMINA_ASSIGN(q_, weights.linear(q, heads_ * query_size(), query_rank_ > 0 ? query_rank_ : hidden));
  if (query_rank_ == 0) return {};
  LAMINA_ASSIGN(Record q_a, record.child("q_a"));
  LAMINA_ASSIGN(q_a_, weights.linear(q_a, query_rank_, hidden));
  LAMINA_ASSIGN(Record norm, record.child("q_norm"));
  LAMINA_ASSIGN(q_norm_, Norm::make(norm, weights, query_rank_));
  return {};
}

/// kv_b: one tensor [heads * (nope + value), latent], or two, [heads, latent, nope] and [heads, value, latent].
core::Status LatentAttention::read_heads(Record& record, Weights& weights) {
  LAMINA_ASSIGN(Record kv_b, record.child("kv_b"));
  LAMINA_ASSIGN(const std::optional<std::string> joint, kv_b.optional_text("weight"));
  LAMINA_ASSIGN(const std::optional<Record> keys, kv_b.optional_child("keys"));
  LAMINA_ASSIGN(const std::optional<Record> values, kv_b.optional_child("values"));
  LAMINA_CHECK_OK(kv_b.done());
  const bool split = keys && values && (!joint || !weights.has(*joint));
  if (!split && !joint) return fail(ErrorCode::kInvalid, kv_b.place(), "names neither one weight nor keys and values");
  LAMINA_CHECK_OK(split ? read_split_heads(*keys, *values, weights) : read_joint_heads(*joint, weights));
  LAMINA_CHECK_OK(check_alike(kv_b.place(), k_b_));
  return check_alike(kv_b.place(), v_b_);
}

core::Status LatentAttention::read_split_heads(const Record& keys, const Record& values, Weights& weights) {
  for (int64_t head = 0; head < heads_; ++head) {
    LAMINA_ASSIGN(auto key, weights.expert(keys, head, heads_, latent_, nope_));
    LAMINA_ASSIGN(auto value, weights.expert(values, head, heads_, value_, latent_));
    k_b_.push_back(std::move(key));
    v_b_.push_back(std::move(value));
  }
  return {};
}

core::Status LatentAttention::read_joint_heads(const std::string& name, Weights& weights) {
  const int64_t rows = nope_ + value_;
  const std::vector<int64_t> shape{heads_ * rows, latent_};
  for (int64_t head = 0; head < heads_; ++head) {
    RowPick keys = RowPick::all(latent_);
    keys.input_first = true;
    keys.input_begin = head * rows;
    keys.inputs = nope_;
    RowPick values = RowPick::all(value_);
    values.begin = head * rows + nope_;
    values.of = shape[0];
    LAMINA_ASSIGN(auto key, weights.picked(name, shape, keys, latent_));
    LAMINA_ASSIGN(auto value, weights.picked(name, shape, values, value_));
    k_b_.push_back(std::move(key));
    v_b_.push_back(std::move(value));
  }
  return {};
}

core::Status LatentAttention::check_alike(const std::string& place, const HeadLinears& heads) const {
  const kernels::ActivationLayout first = kernels::activation_layout(heads.front()->layout());
  if (std::ranges::all_of(heads, [&](const auto& one) { return kernels::activation_layout(one->layout()) == first; }))
    return {};
  return fail(ErrorCode::kUnsupported, place, "heads differ in what their number formats read; one kind expected");
}

LatentAttention::Work LatentAttention::take_work(Step& step) const {
  return {.low = step.arena.take<float>(step.rows * query_rank_),
          .q = step.arena.take<float>(step.rows * heads_ * query_size()),
          .kv = step.arena.take<float>(step.rows * key_size()),
          .queries = step.arena.take<float>(step.rows * heads_ * key_size()),
          .latents = step.arena.take<float>(step.rows * heads_ * latent_),
          .out = step.arena.take<float>(step.rows * heads_ * value_)};
}

void LatentAttention::forward(Step& step, const float* input, float* stream) const {
  const float* normed = border_.enter(step, input);
  Work work = take_work(step);
  project(step, normed, work);
  store(step, work);
  step.lap(Op::kRotate);
  run_head_products(step, k_b_, {work.q, heads_ * query_size(), query_size()},
                    {work.queries, heads_ * key_size(), key_size()});
  if (step.rows <= kFewRows && step.pool.threads() > 1) {
    int64_t positions = 0;
    for (const RowGroup& group : step.groups) positions = std::max(positions, group.first_position + group.rows);
    const int64_t segments = (positions + kernels::kSegmentKeys - 1) / kernels::kSegmentKeys;
    work.partial = step.arena.take<float>(segments * heads_ * state_floats());
    for (const RowGroup& group : step.groups) {
      for (int64_t token = 0; token < group.rows; ++token) attend_row(step, group, token, work);
    }
  } else {
    attend(step, work);
  }
  lap_attention(step, step.cache.visits()[static_cast<size_t>(step.visit)], heads_,
                [](const RowGroup&, int64_t position) { return core::Range{0, position + 1}; });
  record(step, work);
  run_head_products(step, v_b_, {work.latents, heads_ * latent_, latent_}, {work.out, heads_ * value_, value_});
  border_.leave(step, *o_, work.out, stream);
}

void LatentAttention::project(Step& step, const float* normed, const Work& work) const {
  const Product kv{.linear = kv_a_.get(), .y = work.kv, .y_stride = key_size()};
  const Product q{.linear = q_.get(), .y = work.q, .y_stride = heads_ * query_size()};
  if (query_rank_ == 0) {
    run_products(step, std::array{q, kv}, normed, step.rows);
    return;
  }
  const Product low{.linear = q_a_.get(), .y = work.low, .y_stride = query_rank_};
  run_products(step, std::array{low, kv}, normed, step.rows);
  split_rows(step.pool, step.rows, [&](int64_t begin, int64_t end) {
    float* rows = work.low + begin * query_rank_;
    q_norm_->apply(rows, rows, end - begin);
  });
  step.lap(Op::kNorm);
  run_products(step, std::array{q}, work.low, step.rows);
}

/// Norms the latents, rotates what is to be rotated, and keeps both; the rotated part of each query goes to its place.
void LatentAttention::store(Step& step, const Work& work) const {
  split_rows(step.pool, step.rows, [&](int64_t begin, int64_t end) {
    float* kv = work.kv + begin * key_size();
    float* q = work.q + begin * heads_ * query_size();
    for (int64_t row = 0; row < end - begin; ++row) kv_norm_->apply(kv + row * key_size(), kv + row * key_size(), 1);
    rotation_->apply(step, begin, end, kv + latent_, 1, key_size());
    rotation_->apply(step, begin, end, q + nope_, heads_, query_size());
    for (int64_t i = begin * heads_; i < end * heads_; ++i) {
      std::memcpy(work.queries + i * key_size() + latent_, work.q + i * query_size() + nope_,
                  static_cast<size_t>(rotary_) * sizeof(float));
    }
    for (const RowGroup& group : step.groups) {
      const int64_t first = std::max(begin, group.first_row);
      const int64_t last = std::min(end, group.first_row + group.rows);
      for (int64_t row = first; row < last; ++row) {
        step.cache.write(step.visit, group.sequence, group.first_position + row - group.first_row,
                         work.kv + row * key_size(), nullptr);
      }
    }
  });
}

kernels::AttentionArgs LatentAttention::arguments(const Step& step, const RowGroup& group, int index) const {
  return {.format = step.cache.visits()[static_cast<size_t>(step.visit)].format,
          .head_size = key_size(),
          .value_size = latent_,
          .scale = scale_,
          .key_chunks = nullptr,
          .value_chunks = step.cache.value_chunks(step.visit, group.sequence, 0).data(),
          .scratch = reinterpret_cast<float*>(step.thread_scratch[static_cast<size_t>(index)])};
}

/// Lists the queries of some tokens of a group and some heads; returns how many.
int64_t LatentAttention::fill_rows(const RowGroup& group, core::Range tokens, core::Range heads, const Work& work,
                                   kernels::AttentionRow* rows) const {
  int64_t count = 0;
  for (int64_t token = tokens.begin; token < tokens.end; ++token) {
    for (int64_t head = heads.begin; head < heads.end; ++head) {
      const int64_t place = (group.first_row + token) * heads_ + head;
      rows[count++] = {.query = work.queries + place * key_size(),
                       .out = work.latents + place * latent_,
                       .first_key = 0,
                       .last_key = group.first_position + token};
    }
  }
  return count;
}

template <typename Use>
void LatentAttention::for_tiles(Step& step, const Work& work, Use&& use) const {
  const Slices parts = slices((heads_ + kTileRows - 1) / kTileRows);
  const int64_t tokens = std::max<int64_t>(1, kTileRows / parts.heads);
  step.pool.run([&](int index, int threads) {
    std::array<kernels::AttentionRow, kMaxHeads> rows;
    int64_t task = 0;
    for (const RowGroup& group : step.groups) {
      for (int64_t token = 0; token < group.rows; token += tokens) {
        for (int64_t slice = 0; slice < parts.count; ++slice) {
          if (task++ % threads != index) continue;
          const core::Range heads = heads_of(parts, slice);
          kernels::AttentionArgs args = arguments(step, group, index);
          args.rows = fill_rows(group, {token, std::min(token + tokens, group.rows)}, heads, work, rows.data());
          args.row_list = rows.data();
          use(args, ScoredTile{.first_row = group.first_row + token,
                               .first_position = group.first_position + token,
                               .first_head = heads.begin,
                               .heads = heads.end - heads.begin});
        }
      }
    }
  });
}

void LatentAttention::attend(Step& step, const Work& work) const {
  for_tiles(step, work, [](const kernels::AttentionArgs& args, const ScoredTile&) { kernels::attention(args); });
}

/// For statistics: how each head spreads its attention.
void LatentAttention::record(Step& step, const Work& work) const {
  AttentionRecorder* recorder = attention_recorder(step);
  if (recorder == nullptr) return;
  recorder->begin(step.layer, step.rows, heads_);
  for_tiles(step, work, [recorder](const kernels::AttentionArgs& args, const ScoredTile& tile) {
    record_scores(args, tile, *recorder);
  });
  recorder->end();
  step.lap(Op::kHook);
}

/// One token: its heads and the segments of its keys are tasks; states are merged in order. Same bits as attend().
void LatentAttention::attend_row(Step& step, const RowGroup& group, int64_t token, const Work& work) const {
  const int64_t segments = (group.first_position + token) / kernels::kSegmentKeys + 1;
  const Slices parts = slices((step.pool.threads() + segments - 1) / segments);
  const auto for_slices = [&](int64_t tasks, auto&& run) {
    step.pool.run([&](int index, int threads) {
      std::array<kernels::AttentionRow, kMaxHeads> rows;
      const core::Range range = core::split_range(tasks, 1, index, threads);
      for (int64_t task = range.begin; task < range.end; ++task) {
        const core::Range heads = heads_of(parts, task % parts.count);
        kernels::AttentionArgs args = arguments(step, group, index);
        args.rows = fill_rows(group, {token, token + 1}, heads, work, rows.data());
        args.row_list = rows.data();
        run(args, task, work.partial + heads.begin * segments * state_floats());
      }
    });
  };
  if (segments == 1) {
    for_slices(parts.count, [](const kernels::AttentionArgs& args, int64_t, float*) { kernels::attention(args); });
    return;
  }
  for_slices(parts.count * segments, [&](const kernels::AttentionArgs& args, int64_t task, float* partial) {
    const int64_t segment = task / parts.count;
    kernels::attention_segments(args, segment, segment + 1, partial + segment * args.rows * state_floats());
  });
  for_slices(parts.count, [&](const kernels::AttentionArgs& args, int64_t, const float* partial) {
    kernels::attention_merge(args, segments, partial, 0, args.rows);
  });
}

int64_t LatentAttention::arena_bytes(const StepLimits& limits) const {
  const int64_t rows = limits.rows;
  const auto floats = [](int64_t count) { return static_cast<int64_t>(Arena::padded(count * 4)); };
  const int64_t segments = (limits.positions + kernels::kSegmentKeys - 1) / kernels::kSegmentKeys;
  int64_t bytes = border_.arena_bytes(rows) + floats(rows * query_rank_) + floats(rows * heads_ * query_size()) +
                  floats(rows * key_size()) + floats(rows * heads_ * key_size()) + floats(rows * heads_ * latent_) +
                  floats(rows * heads_ * value_) + floats(segments * heads_ * state_floats()) +
                  head_product_bytes(k_b_, rows) + head_product_bytes(v_b_, rows) +
                  product_bytes(std::array<const Linear*, 1>{o_.get()}, rows);
  if (query_rank_ == 0) return bytes + product_bytes(std::array<const Linear*, 2>{q_.get(), kv_a_.get()}, rows);
  return bytes + product_bytes(std::array<const Linear*, 2>{q_a_.get(), kv_a_.get()}, rows) +
         product_bytes(std::array<const Linear*, 1>{q_.get()}, rows);
}

int64_t LatentAttention::scratch_bytes(const StepLimits& limits) const {
  return std::max(product_scratch_bytes(linears(), limits.rows),
                  kernels::attention_scratch_floats(key_size(), latent_) * 4);
}

std::vector<const Linear*> LatentAttention::linears() const {
  std::vector<const Linear*> all;
  for (const auto* one : {&q_a_, &q_, &kv_a_}) {
    if (*one) all.push_back(one->get());
  }
  for (const HeadLinears* heads : {&k_b_, &v_b_}) {
    for (const auto& one : *heads) all.push_back(one.get());
  }
  all.push_back(o_.get());
  return all;
}

}  // namespace

Result<std::unique_ptr<Sublayer>> make_latent_attention(Record& record, BuildContext& context) {
  return LatentAttention::make(record, context);
}

}  // namespace lamina::layers
