#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "cache/kv_cache.h"
#include "core/memory.h"
#include "core/result.h"
#include "core/thread_pool.h"
#include "layers/step.h"
#include "models/model.h"
#include "recipe/plan.h"
#include "run/early_exit.h"

namespace lamina::run {

/// One token of a batch. Its position is the number of tokens that its sequence has computed so far.
struct BatchRow {
  int32_t token = 0;
  cache::SequenceId sequence{};
  bool wants_logits = false;
  int32_t type = 0;  ///< token type, of models that tell the texts of a pair apart
};

/// A route through a runner's model that is not the runner's own: its visits, and the part of the cache of each.
struct Route {
  std::vector<recipe::Visit> visits;
  std::vector<int> slots;
  std::optional<recipe::ExitPlan> exit{};  ///< by these visits
};

/// Where in the route a hook is called: after the embedding (visit -1, layer -1) and after each visit. Of visits side
/// by side, all but the last show the stream as if they were alone.
struct Border {
  int visit = -1;
  int layer = -1;
  int64_t rows = 0;
  int64_t hidden = 0;
  std::span<const layers::RowGroup> groups;
};

/// Looks at, or changes, the stream at every border of the route.
class BorderHook {
 public:
  virtual ~BorderHook() = default;
  /// stream is [border.rows, border.hidden], rows in the order of the batch.
  virtual void at_border(const Border& border, float* stream) = 0;
  /// The same before and after each part of a layer, which may not be changed here; `role` is the part's.
  virtual void before_part(const Border& /*border*/, std::string_view /*role*/, const float* /*stream*/) {}
  virtual void after_part(const Border& /*border*/, std::string_view /*role*/, const float* /*stream*/) {}
};

struct RunnerOptions {
  recipe::RunPlan plan;
  int64_t context = 0;     ///< positions per sequence
  int32_t sequences = 1;   ///< open at once
  int64_t max_rows = 512;  ///< rows of one step
  int64_t encoder_context =
      0;  ///< positions of an encoded text, of an encoder-decoder; 0: as many as its encoder knows
  /// Positions of all sequences together, at least `context`; 0: enough for every sequence's longest text.
  int64_t cache_tokens = 0;
  bool keeps_texts = false;   ///< make room for what keep() keeps of windows and states
  bool takes_routes = false;  ///< make room for routes other than the plan's: layers side by side, and early exits
  /// Visits besides the plan's that other routes may make: each has a place of its own in the cache.
  std::vector<recipe::Visit> spare{};
};

/// What running takes besides the weights, in bytes.
struct RunnerMemory {
  cache::CacheBytes cache;
  int64_t workspace = 0;
};

/// The forward pass over a route: batches in, logits out. All memory is taken when it is made; step() allocates
/// nothing. Of a model whose rows read ahead (Model::reads_ahead) every step computes whole texts and leaves its
/// sequences empty. Of an encoder-decoder each sequence is encoded before its first step.
class Runner {
 public:
  static core::Result<RunnerMemory> plan_memory(const models::Model& model, const core::ThreadPool& pool,
                                                const RunnerOptions& options);
  /// `model` and `pool` must outlive the runner; the model must be loaded before the first step.
  static core::Result<std::unique_ptr<Runner>> create(const models::Model& model, core::ThreadPool& pool,
                                                      const RunnerOptions& options);

  const RunnerOptions& options() const { return options_; }
  const models::Model& model() const { return model_; }
  core::Result<cache::SequenceId> open();
  void close(cache::SequenceId sequence);
  /// A new sequence with a copy of the first `length` positions of another, and of what it has encoded.
  core::Result<cache::SequenceId> fork(cache::SequenceId source, int64_t length);
  int64_t length(cache::SequenceId sequence) const { return cache_->length(sequence); }
  /// What is kept of the sequences, to see how much of it is free.
  const cache::KvCache& cache() const { return *cache_; }
  /// Forgets positions from `length` on; returns how many remain, which may be none (cache::KvCache::truncate): the
  /// caller computes again from there.
  [[nodiscard]] int64_t truncate(cache::SequenceId sequence, int64_t length) {
    return cache_->truncate(sequence, length);
  }
  /// Keeps what is computed of a sequence's tokens for texts of its family that begin alike, and lets a new one go on
  /// from it: cache::KvCache::keep and resume. A family must be of one route.
  void keep(cache::SequenceId sequence, std::span<const int32_t> tokens, const std::string& family, bool whole_blocks) {
    cache_->keep(sequence, tokens, family, whole_blocks);
  }
  int64_t resume(cache::SequenceId sequence, std::span<const int32_t> tokens, const std::string& family) {
    return cache_->resume(sequence, tokens, family);
  }
  /// What is kept, to be saved and filled in again.
  cache::KvCache& kept() { return *cache_; }
  /// What each visit of the route keeps of a position.
  std::span<const cache::VisitShape> cache_visits() const { return cache_->visits(); }
  void set_hook(BorderHook* hook) { hook_ = hook; }
  /// Told from now on what the matrices read; null: no longer. Results do not change.
  void set_recorder(layers::InputRecorder* recorder) { recorder_ = recorder; }
  /// Records where the time of the steps from now on goes; null: no longer. Results do not change.
  void set_profile(layers::Profile* profile) { profile_ = profile; }
  /// The encoder's pass, to hook into; null unless the model is an encoder-decoder.
  Runner* encoder() { return encoder_.get(); }
  const Runner* encoder() const { return encoder_.get(); }

  /// Runs the encoder over the rows, a whole text for each sequence, side by side, and keeps what cross attention reads
  /// of it until the sequence is closed or encoded again. kUnsupported: the model has no encoder; kInvalid: a sequence
  /// that has tokens, or what step() refuses; kLimit: too many rows or positions. On an error nothing has changed.
  core::Status encode(std::span<const BatchRow> rows);
  /// As encode(), for an encoder that reads frames: [features, count], as Embedding::features says.
  core::Status encode_frames(cache::SequenceId sequence, std::span<const float> frames);
  /// Positions of a sequence's encoded text.
  int64_t encoded_length(cache::SequenceId sequence) const { return encoded_ ? encoded_->length(sequence) : 0; }

  /// A route of some of the visits that the runner's own has, and the spare ones after it, parts of them left out, in
  /// any order: the n-th visit of a layer takes the place of the n-th one there. kUnsupported: a visit, or a part of
  /// one, that is not there, or what RunnerOptions::takes_routes makes room for.
  core::Result<Route> plan_route(std::vector<recipe::Visit> visits,
                                 std::optional<recipe::ExitPlan> exit = std::nullopt) const;

  /// Runs the rows over a route of plan_route(), always the same one for a sequence, or over the runner's own: at most
  /// max_rows, the rows of a sequence side by side. Logits of the rows that want them go to
  /// `logits` [wanted, head().outputs()], in order. kInvalid: token outside the vocabulary; kUnsupported: logits of a
  /// model without a head; kLimit: too many rows or positions. On an error nothing has changed.
  core::Status step(std::span<const BatchRow> rows, std::span<float> logits, const Route* route = nullptr);

 private:
  Runner(const models::Model& model, core::ThreadPool& pool, RunnerOptions options)
      : model_(model), pool_(pool), options_(std::move(options)) {}
  core::Status take_memory();
  void keep_encoded(const layers::RowGroup& text, const float* rows);
  layers::Step make_step(std::span<const layers::RowGroup> groups, int64_t rows);
  core::Status check(std::span<const BatchRow> rows, size_t logits) const;
  core::Status check_row(const BatchRow& row) const;
  core::Status group_rows(std::span<const BatchRow> rows);
  void compute_angles(int64_t rows);
  void read_embedding(layers::Step& step);
  /// A route as a step takes it.
  struct Path {
    std::span<const recipe::Visit> visits;
    std::span<const int> slots;
    const recipe::ExitPlan* exit = nullptr;
    const recipe::FusePlan* fuse = nullptr;
    bool reweaves = false;
  };
  void visit_layers(layers::Step& step, const Path& path);
  void visit_layer(layers::Step& step, const recipe::Visit& visit, int index, bool exits);
  void run_part(layers::Step& step, const layers::Layer::Part& part, const float* input, bool exits);
  void join_beside(const layers::Step& step, bool first, bool last);
  void reweave(const layers::Step& step, size_t visit);
  void pool_rows(std::span<const BatchRow> rows, float* pooled);
  void compute_logits(layers::Step& step, std::span<const BatchRow> rows, float* logits);
  void fuse_logits(layers::Step& step, std::span<const BatchRow> rows, float* logits);
  Border border(const layers::Step& step, int visit, int layer) const;
  void call_hook(const layers::Step& step, int visit, int layer);

  const models::Model& model_;
  core::ThreadPool& pool_;
  RunnerOptions options_;
  std::optional<cache::KvCache> cache_;  ///< always there once the runner is made
  // Those of an encoder-decoder. The sequences of both and of cache_ open and close together, so they share their ids.
  std::unique_ptr<Runner> encoder_;
  std::optional<cache::KvCache> encoded_;  ///< keys and values of cross attention, by layer
  BorderHook* hook_ = nullptr;
  layers::Profile* profile_ = nullptr;
  layers::InputRecorder* recorder_ = nullptr;
  layers::Frames frames_;  ///< of the step, of an encoder that reads them
  core::AlignedBuffer memory_;
  float* stream_ = nullptr;
  float* layer_input_ = nullptr;
  float* span_input_ = nullptr;  ///< what layers side by side read
  float* span_sum_ = nullptr;    ///< and what those that have run make of it
  std::optional<EarlyExit> early_exit_;
  float* fused_stream_ = nullptr;  ///< after the layer whose logits join the last ones, of all rows
  float* fused_logits_ = nullptr;  ///< of some rows
  layers::Arena arena_;
  std::vector<std::byte*> thread_scratch_;
  std::vector<int> slots_;            ///< which part of the cache each visit writes, the spare ones after the route's
  std::vector<int64_t> kept_states_;  ///< where in its state each visit of the route keeps those to weave in, or -1
  std::vector<int32_t> tokens_;
  std::vector<int32_t> positions_;
  std::vector<int32_t> types_;
  std::vector<kernels::RopeFrequencies> ropes_;
  std::vector<layers::RowGroup> groups_;
  std::vector<layers::RopeAngles> angles_;
  std::vector<float*> angle_memory_;
};

}  // namespace lamina::run
