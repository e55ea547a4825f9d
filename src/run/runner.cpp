#include "run/runner.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>
#include <tuple>

#include "layers/rows.h"
#include "run/layer_fusion.h"
#include "run/reweaving.h"
#include "run/route_cost.h"

namespace lamina::run {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;
using layers::Arena;

namespace {

Result<kernels::CacheFormat> cache_format(const std::string& name) {
  std::string known;
  for (const auto format : kernels::cache_formats()) {
    if (kernels::cache_format_name(format) == name) return format;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", kernels::cache_format_name(format));
  }
  return fail(ErrorCode::kUnsupported, "kv", "cache format \"{}\" is unknown; known here: {}", name, known);
}

/// The visits of the runner's own route, and the spare ones after them.
std::vector<recipe::Visit> placed_visits(const RunnerOptions& options) {
  std::vector<recipe::Visit> visits = options.plan.route;
  visits.insert(visits.end(), options.spare.begin(), options.spare.end());
  return visits;
}

/// What the cache holds, and which of its visits each visit of the route, and each spare one, uses.
struct CachePlan {
  cache::KvCacheOptions options;
  std::vector<int> slots;
  std::vector<int64_t> kept_states;  ///< by visit of the runner's own route, as Runner has them
};

/// Makes room beside a visit's recurrent state for the states that are woven in after it; returns where, or -1.
int64_t add_kept_states(const models::Model& model, const recipe::RunPlan& plan, const recipe::Visit& visit,
                        cache::VisitShape& shape) {
  constexpr int64_t kLine = 16;
  if (!plan.reweave || plan.reweave->weight == 0) return -1;
  if (!std::ranges::binary_search(plan.reweave->layers, visit.layer)) return -1;
  const int64_t offset = (shape.state_floats + kLine - 1) / kLine * kLine;
  shape.state_floats = offset + reweave_state_floats(*plan.reweave, model.hidden());
  return offset;
}

/// Visits of a model that keeps nothing take turns with the same memory when they need equal shapes.
int slot_of(std::vector<cache::VisitShape>& shapes, const cache::VisitShape& shape, bool shared) {
  const auto same = [&](const cache::VisitShape& other) {
    return other.kv_heads == shape.kv_heads && other.key_size == shape.key_size &&
           other.value_size == shape.value_size && other.joined == shape.joined && other.window == shape.window &&
           !other.keeps_state() && !shape.keeps_state();
  };
  auto found = shared ? std::ranges::find_if(shapes, same) : shapes.end();
  if (found == shapes.end()) found = shapes.insert(shapes.end(), shape);
  return static_cast<int>(found - shapes.begin());
}

Result<CachePlan> plan_cache(const models::Model& model, const RunnerOptions& options) {
  LAMINA_ASSIGN(const kernels::CacheFormat format, cache_format(options.plan.kv_format));
  const bool shared = model.reads_ahead();
  CachePlan plan{.options = {.visits = {},
                             .tokens = 0,
                             .sequence_tokens = options.context,
                             .sequences = options.sequences,
                             .step_tokens = options.max_rows,
                             .keeps_texts = options.keeps_texts},
                 .slots = {},
                 .kept_states = {}};
  const int64_t longest = (options.context + kernels::kChunkKeys - 1) / kernels::kChunkKeys;
  int64_t blocks = longest * options.sequences;
  if (options.cache_tokens > 0) {
    if (options.cache_tokens < options.context) {
      return fail(ErrorCode::kInvalid, "cache", "{} positions; a sequence of the context of {} must fit",
                  options.cache_tokens, options.context);
    }
    blocks = std::clamp(options.cache_tokens / kernels::kChunkKeys, longest, blocks);
  }
  if (shared) blocks = std::min(blocks, options.max_rows / kernels::kChunkKeys + options.sequences);
  plan.options.tokens = blocks * kernels::kChunkKeys;
  for (const recipe::Visit& visit : placed_visits(options)) {
    cache::VisitShape shape;
    for (const auto& part : model.layers()[static_cast<size_t>(visit.layer)].parts) {
      const cache::VisitShape wanted = part.sublayer->cache_shape();
      if (!runs(visit, part)) continue;
      if (wanted.keeps_state() && shape.keeps_state()) {
        return fail(ErrorCode::kUnsupported, fmt::format("layer {}", visit.layer),
                    "two of its parts keep a state; at most one expected");
      }
      const int64_t state = shape.state_floats + wanted.state_floats;
      if (wanted.keeps_keys()) shape = wanted;
      shape.state_floats = state;
    }
    shape.format = format;
    if (plan.slots.size() < options.plan.route.size())
      plan.kept_states.push_back(add_kept_states(model, options.plan, visit, shape));
    plan.slots.push_back(slot_of(plan.options.visits, shape, shared));
  }
  return plan;
}

/// What cross attention keeps of the encoder's output: once for each layer, however often the route visits it.
Result<cache::KvCacheOptions> plan_encoded(const models::Model& model, const RunnerOptions& options,
                                           int64_t positions) {
  LAMINA_ASSIGN(const kernels::CacheFormat format, cache_format(options.plan.kv_format));
  cache::KvCacheOptions plan{.visits = std::vector<cache::VisitShape>(model.layers().size()),
                             .tokens = 0,
                             .sequence_tokens = positions,
                             .sequences = options.sequences};
  plan.tokens = (positions + kernels::kChunkKeys - 1) / kernels::kChunkKeys * kernels::kChunkKeys * options.sequences;
  for (const recipe::Visit& visit : options.plan.route) {
    for (const auto& part : model.layers()[static_cast<size_t>(visit.layer)].parts) {
      const cache::VisitShape wanted = part.sublayer->encoded_shape();
      if (runs(visit, part) && wanted.kv_heads > 0) plan.visits[static_cast<size_t>(visit.layer)] = wanted;
    }
  }
  for (cache::VisitShape& shape : plan.visits) shape.format = format;
  return plan;
}

/// How the encoder runs beside a decoder with these options: whole texts, all of its layers.
RunnerOptions encoder_options(const models::Model& encoder, const RunnerOptions& options) {
  RunnerOptions own{.plan = {.route = {}, .kv_format = "f32"},
                    .context = options.encoder_context > 0 ? options.encoder_context : encoder.context(),
                    .sequences = options.sequences,
                    .max_rows = options.max_rows};
  own.max_rows = std::max(own.max_rows, own.context);
  for (const int layer : encoder.route()) own.plan.route.push_back({.layer = layer});
  return own;
}

/// Rows of which an earlier layer's logits are made at once: those of a row can be a megabyte.
constexpr int64_t kFusedRows = 8;

/// Whether there are logits to which others can be joined.
Status check_fuse(const models::Model& model, const std::optional<recipe::FusePlan>& fuse) {
  if (!fuse || (model.head().outputs() > 0 && !model.head().labels())) return {};
  return fail(ErrorCode::kUnsupported, "decode", "lfd needs a head over the vocabulary, which this model lacks");
}

/// Whether tokens are read one after another, so that there are earlier ones.
Status check_reweave(const models::Model& model, const std::optional<recipe::ReweavePlan>& reweave) {
  if (!reweave || !model.reads_ahead()) return {};
  return fail(ErrorCode::kUnsupported, "decode",
              "reweave keeps states for later tokens, and rows of this model read those after them as well");
}

/// Whether rows of the model can leave early by that measure.
Status check_exit(const models::Model& model, const std::optional<recipe::ExitPlan>& exit) {
  if (!exit || exit->by_stream || (model.head().outputs() > 0 && !model.head().labels())) return {};
  return fail(ErrorCode::kUnsupported, "route",
              "an exit by token needs a head over the vocabulary; by=stream expected");
}

/// The parts of the workspace, in bytes.
struct WorkspacePlan {
  int64_t stream = 0;
  int64_t input = 0;  // a copy of a layer's input, when a layer's parts run in parallel
  int64_t span = 0;   // what layers side by side read, and as much for their sum
  int64_t exit = 0;
  int64_t fused_stream = 0;  // after the layer whose logits join the last ones
  int64_t fused_logits = 0;
  int64_t angles = 0;
  int64_t arena = 0;
  int64_t scratch = 0;  // per thread

  int64_t total(int threads) const {
    return stream + input + 2 * span + exit + fused_stream + fused_logits + angles + arena + scratch * threads;
  }
};

WorkspacePlan plan_workspace(const models::Model& model, const RunnerOptions& options) {
  const layers::StepLimits limits{.rows = options.max_rows, .positions = options.context};
  const auto padded = [](int64_t bytes) { return static_cast<int64_t>(Arena::padded(bytes)); };
  WorkspacePlan plan;
  plan.stream = padded(limits.rows * model.hidden() * 4);
  for (const auto& rope : model.ropes())
    plan.angles += 2 * padded(limits.rows * static_cast<int64_t>(rope.frequencies.size()) * 4);
  plan.arena = std::max(padded(limits.rows * model.hidden() * 4) + model.head().arena_bytes(limits.rows),
                        model.embedding().arena_bytes(limits.rows));
  plan.scratch = std::max(model.head().scratch_bytes(limits.rows), model.embedding().scratch_bytes(limits.rows));
  if (options.takes_routes || std::ranges::any_of(options.plan.route, &recipe::Visit::beside)) plan.span = plan.stream;
  if (options.plan.fuse) {
    plan.fused_stream = plan.stream;
    plan.fused_logits = padded(std::min(limits.rows, kFusedRows) * model.head().outputs() * 4);
  }
  if (options.plan.reweave)
    plan.scratch = std::max(plan.scratch, reweave_scratch_bytes(*options.plan.reweave, model.hidden()));
  if (options.takes_routes || options.plan.exit) plan.exit = padded(EarlyExit::bytes(model, limits.rows));
  for (const recipe::Visit& visit : options.plan.route) {
    const layers::Layer& layer = model.layers()[static_cast<size_t>(visit.layer)];
    if (layer.parallel) plan.input = plan.stream;
    for (const auto& part : layer.parts) {
      plan.arena = std::max(plan.arena, part.sublayer->arena_bytes(limits));
      plan.scratch = std::max(plan.scratch, part.sublayer->scratch_bytes(limits));
    }
  }
  plan.arena = padded(plan.arena);
  plan.scratch = padded(plan.scratch) + 128;
  return plan;
}

}  // namespace

Result<RunnerMemory> Runner::plan_memory(const models::Model& model, const core::ThreadPool& pool,
                                         const RunnerOptions& options) {
  LAMINA_ASSIGN(const CachePlan wanted, plan_cache(model, options));
  RunnerMemory memory{.cache = cache::KvCache::bytes(wanted.options),
                      .workspace = plan_workspace(model, options).total(pool.threads())};
  if (model.encoder() == nullptr) return memory;
  const RunnerOptions own = encoder_options(*model.encoder(), options);
  LAMINA_ASSIGN(const RunnerMemory encoder, plan_memory(*model.encoder(), pool, own));
  LAMINA_ASSIGN(const cache::KvCacheOptions encoded, plan_encoded(model, options, own.context));
  memory.cache += encoder.cache;
  memory.cache += cache::KvCache::bytes(encoded);
  memory.workspace += encoder.workspace;
  return memory;
}

Result<std::unique_ptr<Runner>> Runner::create(const models::Model& model, core::ThreadPool& pool,
                                               const RunnerOptions& options) {
  if (options.context < 1 || options.sequences < 1 || options.max_rows < 1) {
    return fail(ErrorCode::kInvalid, "run", "context {}, sequences {}, rows {}: each must be at least 1",
                options.context, options.sequences, options.max_rows);
  }
  if (const int64_t known = model.embedding().positions(); known != 0 && options.context > known) {
    return fail(ErrorCode::kLimit, "context", "{} positions; the model has learned {}", options.context, known);
  }
  LAMINA_CHECK_OK(check_exit(model, options.plan.exit));
  LAMINA_CHECK_OK(check_fuse(model, options.plan.fuse));
  LAMINA_CHECK_OK(check_reweave(model, options.plan.reweave));
  std::unique_ptr<Runner> runner(new Runner(model, pool, options));
  LAMINA_CHECK_OK(runner->take_memory());
  if (model.encoder() == nullptr) return runner;
  const RunnerOptions own = encoder_options(*model.encoder(), options);
  LAMINA_ASSIGN(runner->encoder_, create(*model.encoder(), pool, own));
  LAMINA_ASSIGN(const cache::KvCacheOptions encoded, plan_encoded(model, options, own.context));
  LAMINA_ASSIGN(runner->encoded_, cache::KvCache::create(encoded));
  return runner;
}

Status Runner::take_memory() {
  LAMINA_ASSIGN(CachePlan wanted, plan_cache(model_, options_));
  slots_ = std::move(wanted.slots);
  kept_states_ = std::move(wanted.kept_states);
  LAMINA_ASSIGN(cache_, cache::KvCache::create(wanted.options));
  const WorkspacePlan plan = plan_workspace(model_, options_);
  const int threads = pool_.threads();
  LAMINA_ASSIGN(memory_, core::AlignedBuffer::allocate(static_cast<size_t>(plan.total(threads))));
  std::byte* next = memory_.data();
  const auto take = [&](int64_t bytes) { return std::exchange(next, next + bytes); };
  stream_ = reinterpret_cast<float*>(take(plan.stream));
  layer_input_ = reinterpret_cast<float*>(take(plan.input));
  if (plan.span > 0) {
    span_input_ = reinterpret_cast<float*>(take(plan.span));
    span_sum_ = reinterpret_cast<float*>(take(plan.span));
  }
  if (plan.fused_stream > 0) {
    fused_stream_ = reinterpret_cast<float*>(take(plan.fused_stream));
    fused_logits_ = reinterpret_cast<float*>(take(plan.fused_logits));
  }
  if (plan.exit > 0) early_exit_.emplace(model_, options_.max_rows, take(plan.exit));
  for (const auto& rope : model_.ropes()) {
    ropes_.push_back(rope.in_context(options_.context));
    const auto half = static_cast<int64_t>(rope.frequencies.size());
    const auto bytes = static_cast<int64_t>(Arena::padded(options_.max_rows * half * 4));
    angle_memory_.push_back(reinterpret_cast<float*>(take(bytes)));
    angle_memory_.push_back(reinterpret_cast<float*>(take(bytes)));
    angles_.push_back(
        {.cosines = angle_memory_[angle_memory_.size() - 2], .sines = angle_memory_.back(), .half_dims = half});
  }
  arena_ = Arena({take(plan.arena), static_cast<size_t>(plan.arena)});
  for (int i = 0; i < threads; ++i) thread_scratch_.push_back(take(plan.scratch));
  for (auto* list : {&tokens_, &positions_, &types_}) list->reserve(static_cast<size_t>(options_.max_rows));
  groups_.reserve(static_cast<size_t>(options_.max_rows));
  return {};
}

Result<cache::SequenceId> Runner::open() {
  LAMINA_ASSIGN(const cache::SequenceId sequence, cache_->open());
  if (encoder_) {
    LAMINA_ASSIGN([[maybe_unused]] const cache::SequenceId text, encoder_->open());
    LAMINA_ASSIGN([[maybe_unused]] const cache::SequenceId kept, encoded_->open());
    assert(text == sequence && kept == sequence);
  }
  return sequence;
}

void Runner::close(cache::SequenceId sequence) {
  cache_->close(sequence);
  if (!encoder_) return;
  encoder_->close(sequence);
  encoded_->close(sequence);
}

Result<cache::SequenceId> Runner::fork(cache::SequenceId source, int64_t length) {
  LAMINA_ASSIGN(const cache::SequenceId copy, cache_->fork(source, length));
  if (encoder_) {
    LAMINA_ASSIGN([[maybe_unused]] const cache::SequenceId text, encoder_->open());
    LAMINA_ASSIGN([[maybe_unused]] const cache::SequenceId kept, encoded_->fork(source, encoded_length(source)));
    assert(text == copy && kept == copy);
  }
  return copy;
}

Status Runner::check(std::span<const BatchRow> rows, size_t logits) const {
  if (rows.empty() || static_cast<int64_t>(rows.size()) > options_.max_rows) {
    return fail(ErrorCode::kLimit, "batch", "{} rows; 1 to {} expected", rows.size(), options_.max_rows);
  }
  size_t wanted = 0;
  for (const BatchRow& row : rows) {
    wanted += row.wants_logits ? 1 : 0;
    LAMINA_CHECK_OK(check_row(row));
  }
  const int64_t outputs = model_.head().outputs();
  if (wanted > 0 && outputs == 0)
    return fail(ErrorCode::kUnsupported, "batch", "the model has no head that makes logits");
  if (logits < wanted * static_cast<size_t>(outputs)) {
    return fail(ErrorCode::kInvalid, "batch", "room for {} logits; {} rows of {} expected", logits, wanted, outputs);
  }
  return {};
}

Status Runner::check_row(const BatchRow& row) const {
  const bool reads_frames = model_.embedding().features() > 0;
  if (reads_frames && frames_.count == 0) {
    return fail(ErrorCode::kInvalid, "batch", "the encoder reads frames of {} numbers; no tokens expected",
                model_.embedding().features());
  }
  if (!reads_frames && (row.token < 0 || row.token >= model_.vocabulary())) {
    return fail(ErrorCode::kInvalid, "batch", "token {} is outside the vocabulary of {}", row.token,
                model_.vocabulary());
  }
  if (row.type < 0 || row.type >= model_.embedding().types()) {
    return fail(ErrorCode::kInvalid, "batch", "token type {}; the model has {}", row.type, model_.embedding().types());
  }
  if (encoder_ && encoded_length(row.sequence) == 0) {
    return fail(ErrorCode::kInvalid, "batch", "the sequence has no encoded text; the encoder must read one first");
  }
  return {};
}

/// Lists the sequences of the batch and makes room for their new positions.
Status Runner::group_rows(std::span<const BatchRow> rows) {
  groups_.clear();
  for (auto* list : {&tokens_, &positions_, &types_}) list->clear();
  for (size_t i = 0; i < rows.size(); ++i) {
    tokens_.push_back(rows[i].token);
    types_.push_back(rows[i].type);
    if (!groups_.empty() && groups_.back().sequence == rows[i].sequence) {
      ++groups_.back().rows;
      continue;
    }
    if (std::ranges::find(groups_, rows[i].sequence, &layers::RowGroup::sequence) != groups_.end()) {
      return fail(ErrorCode::kInvalid, "batch", "row {} belongs to a sequence whose other rows are not beside it", i);
    }
    groups_.push_back({.sequence = rows[i].sequence,
                       .first_row = static_cast<int64_t>(i),
                       .rows = 1,
                       .first_position = cache_->length(rows[i].sequence)});
  }
  for (const layers::RowGroup& group : groups_) {
    const int64_t end = group.first_position + group.rows;
    if (end > options_.context) {
      return fail(ErrorCode::kLimit, "context", "{} tokens do not fit into the context of {}", end, options_.context);
    }
    LAMINA_CHECK_OK(cache_->reserve(group.sequence, end));
    for (int64_t position = group.first_position; position < end; ++position)
      positions_.push_back(static_cast<int32_t>(position));
  }
  return {};
}

void Runner::compute_angles(int64_t rows) {
  layers::split_rows(pool_, rows, [&](int64_t begin, int64_t end) {
    for (const layers::RowGroup& group : groups_) {
      const int64_t first = std::max(begin, group.first_row);
      const int64_t last = std::min(end, group.first_row + group.rows);
      if (first >= last) continue;
      for (size_t i = 0; i < angles_.size(); ++i) {
        const int64_t offset = first * angles_[i].half_dims;
        kernels::rope_table(ropes_[i], group.first_position + first - group.first_row, last - first,
                            angle_memory_[2 * i] + offset, angle_memory_[2 * i + 1] + offset);
      }
    }
  });
}

Border Runner::border(const layers::Step& step, int visit, int layer) const {
  return {.visit = visit, .layer = layer, .rows = step.rows, .hidden = model_.hidden(), .groups = groups_};
}

void Runner::call_hook(const layers::Step& step, int visit, int layer) {
  if (hook_ == nullptr) return;
  hook_->at_border(border(step, visit, layer), stream_);
  step.lap(layers::Op::kHook);
}

void Runner::read_embedding(layers::Step& step) {
  if (profile_ != nullptr) profile_->enter(-1, -1, "embedding");
  arena_.reset();
  model_.embedding().forward(step, {.tokens = tokens_, .positions = positions_, .types = types_, .frames = frames_},
                             stream_);
  compute_angles(step.rows);
  step.lap(layers::Op::kAngles);
  call_hook(step, -1, -1);
}

void Runner::visit_layers(layers::Step& step, const Path& path) {
  const bool exits = path.exit != nullptr;
  if (exits) early_exit_->begin(step.rows);
  for (size_t i = 0; i < path.visits.size(); ++i) {
    const recipe::Visit& visit = path.visits[i];
    const bool looks = exits && path.exit->checks[i];
    const bool more = i + 1 < path.visits.size() && path.visits[i + 1].beside;  // beside this one
    step.visit = path.slots[i];
    step.layer = visit.layer;
    if (more && !visit.beside)
      std::memcpy(span_input_, stream_, static_cast<size_t>(step.rows * model_.hidden()) * sizeof(float));
    if (looks && path.exit->by_stream) early_exit_->note(stream_);
    visit_layer(step, visit, static_cast<int>(i), exits);
    if (more) call_hook(step, static_cast<int>(i), visit.layer);
    if (more || visit.beside) join_beside(step, !visit.beside, !more);
    if (looks) early_exit_->look(step, *path.exit, stream_);
    if (path.reweaves && kept_states_[i] >= 0) reweave(step, i);
    if (path.fuse != nullptr && path.fuse->layer == visit.layer)
      std::memcpy(fused_stream_, stream_, static_cast<size_t>(step.rows * model_.hidden()) * sizeof(float));
    if (!more) call_hook(step, static_cast<int>(i), visit.layer);
  }
}

void Runner::visit_layer(layers::Step& step, const recipe::Visit& visit, int index, bool exits) {
  const layers::Layer& layer = model_.layers()[static_cast<size_t>(visit.layer)];
  const float* input = stream_;
  if (layer.parallel) {
    std::memcpy(layer_input_, stream_, static_cast<size_t>(step.rows * model_.hidden()) * sizeof(float));
    input = layer_input_;
    step.lap(layers::Op::kCopy);
  }
  for (const auto& part : layer.parts) {
    if (!runs(visit, part)) continue;
    arena_.reset();
    if (profile_ != nullptr) profile_->enter(index, visit.layer, part.role);
    const Border here = border(step, index, visit.layer);
    if (hook_ != nullptr) hook_->before_part(here, part.role, stream_);
    run_part(step, part, input, exits);
    if (hook_ != nullptr) hook_->after_part(here, part.role, stream_);
  }
}

/// Rows that have left the route get their stream back after each part, so that every part that keeps something of them
/// makes it of the same stream, whoever else is in the batch.
void Runner::run_part(layers::Step& step, const layers::Layer::Part& part, const float* input, bool exits) {
  if (exits && early_exit_->all_left() && part.sublayer->keep(step, input)) return;
  part.sublayer->forward(step, input, stream_);
  if (exits) early_exit_->restore(stream_);
}

/// Of layers side by side: adds what the visit has added to the stream that all of them read, and gives the next one
/// that stream, or the layers after the last one the sum.
void Runner::join_beside(const layers::Step& step, bool first, bool last) {
  const int64_t size = step.rows * model_.hidden();
  const size_t bytes = static_cast<size_t>(size) * sizeof(float);
  if (first) {
    std::memcpy(span_sum_, stream_, bytes);
  } else {
    for (int64_t i = 0; i < size; ++i) span_sum_[i] += stream_[i] - span_input_[i];
  }
  std::memcpy(stream_, last ? span_sum_ : span_input_, bytes);
}

/// Weaves into each text's rows what is kept of its earlier ones after that visit of the runner's own route.
void Runner::reweave(const layers::Step& step, size_t visit) {
  const int64_t hidden = model_.hidden();
  pool_.run([&](int index, int threads) {
    for (size_t g = static_cast<size_t>(index); g < groups_.size(); g += static_cast<size_t>(threads)) {
      const layers::RowGroup& text = groups_[g];
      float* state = cache_->state(step.visit, text.sequence) + kept_states_[visit];
      auto* scratch = reinterpret_cast<float*>(thread_scratch_[static_cast<size_t>(index)]);
      reweave_rows(*options_.plan.reweave, {stream_ + text.first_row * hidden, static_cast<size_t>(text.rows * hidden)},
                   hidden, state, scratch);
    }
  });
  step.lap(layers::Op::kHook);
}

/// One row for each row that wants logits: the mean of its text.
void Runner::pool_rows(std::span<const BatchRow> rows, float* pooled) {
  const int64_t hidden = model_.hidden();
  for (const layers::RowGroup& group : groups_) {
    float* text = stream_ + group.first_row * hidden;
    const auto own = rows.subspan(static_cast<size_t>(group.first_row), static_cast<size_t>(group.rows));
    const auto wanted = std::ranges::count_if(own, &BatchRow::wants_logits);
    if (wanted == 0) continue;
    model_.head().finish(text, group.rows);
    for (int64_t i = 0; i < wanted; ++i, pooled += hidden) model_.head().mean_row(text, group.rows, pooled);
  }
}

void Runner::compute_logits(layers::Step& step, std::span<const BatchRow> rows, float* logits) {
  if (profile_ != nullptr) profile_->enter(-1, -1, "head");
  const auto hidden = static_cast<size_t>(model_.hidden());
  arena_.reset();
  auto* wanted = arena_.take<float>(step.rows * model_.hidden());
  int64_t count = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (!rows[i].wants_logits) continue;
    if (!model_.head().pools_rows())
      std::memcpy(wanted + static_cast<size_t>(count) * hidden, stream_ + i * hidden, hidden * sizeof(float));
    ++count;
  }
  if (count > 0 && model_.head().pools_rows()) pool_rows(rows, wanted);
  step.lap(layers::Op::kCopy);
  if (count > 0) model_.head().forward(step, wanted, count, logits);
}

/// Joins the logits of the plan's layer to those that are there, some rows at a time.
void Runner::fuse_logits(layers::Step& step, std::span<const BatchRow> rows, float* logits) {
  const int64_t hidden = model_.hidden();
  const auto outputs = static_cast<size_t>(model_.head().outputs());
  for (size_t row = 0; row < rows.size();) {
    arena_.reset();
    auto* streams = arena_.take<float>(std::min(step.rows, kFusedRows) * hidden);
    int64_t count = 0;
    for (; row < rows.size() && count < kFusedRows; ++row) {
      if (!rows[row].wants_logits) continue;
      std::memcpy(streams + count++ * hidden, fused_stream_ + static_cast<int64_t>(row) * hidden,
                  static_cast<size_t>(hidden) * sizeof(float));
    }
    if (count == 0) return;
    model_.head().forward(step, streams, count, fused_logits_);
    for (size_t i = 0; i < static_cast<size_t>(count); ++i, logits += outputs)
      run::fuse_logits(*options_.plan.fuse, {fused_logits_ + i * outputs, outputs}, {logits, outputs});
  }
}

layers::Step Runner::make_step(std::span<const layers::RowGroup> groups, int64_t rows) {
  return {.pool = pool_,
          .cache = *cache_,
          .arena = arena_,
          .thread_scratch = thread_scratch_,
          .groups = groups,
          .ropes = angles_,
          .rows = rows,
          .visit = 0,
          .encoded = encoded_ ? &*encoded_ : nullptr,
          .layer = 0,
          .profile = profile_,
          .recorder = recorder_};
}

Status Runner::encode(std::span<const BatchRow> rows) {
  if (!encoder_) return fail(ErrorCode::kUnsupported, "encode", "the model has no encoder beside its layers");
  for (const BatchRow& row : rows) {
    if (length(row.sequence) != 0) {
      return fail(ErrorCode::kInvalid, "encode", "the sequence has {} tokens; one without any expected",
                  length(row.sequence));
    }
  }
  LAMINA_CHECK_OK(encoder_->step(rows, {}));
  float* output = encoder_->stream_;
  const int64_t hidden = encoder_->model_.hidden();
  layers::split_rows(pool_, static_cast<int64_t>(rows.size()), [&](int64_t begin, int64_t end) {
    encoder_->model_.head().finish(output + begin * hidden, end - begin);
  });
  for (const layers::RowGroup& text : encoder_->groups_) {
    std::ignore = encoded_->truncate(text.sequence, 0);
    LAMINA_CHECK_OK(encoded_->reserve(text.sequence, text.rows));  // there is room for every sequence's longest text
    keep_encoded(text, output + text.first_row * hidden);
    encoded_->set_length(text.sequence, text.rows);
  }
  return {};
}

Status Runner::encode_frames(cache::SequenceId sequence, std::span<const float> frames) {
  const int64_t features = encoder_ ? encoder_->model_.embedding().features() : 0;
  if (features == 0) return fail(ErrorCode::kUnsupported, "encode", "the model has no encoder that reads frames");
  if (frames.empty() || std::ssize(frames) % features != 0) {
    return fail(ErrorCode::kInvalid, "encode", "{} numbers; at least one frame of {} expected", frames.size(),
                features);
  }
  const int64_t count = std::ssize(frames) / features;
  const std::vector<BatchRow> rows(static_cast<size_t>(encoder_->model_.embedding().rows(count)),
                                   {.token = 0, .sequence = sequence});
  encoder_->frames_ = {.values = frames.data(), .count = count};
  Status status = encode(rows);
  encoder_->frames_ = {};
  return status;
}

/// Cross attention's keys and values of one text's rows, as many at once as a step has.
void Runner::keep_encoded(const layers::RowGroup& text, const float* rows) {
  for (int64_t first = 0; first < text.rows; first += options_.max_rows) {
    const std::array piece{layers::RowGroup{.sequence = text.sequence,
                                            .first_row = 0,
                                            .rows = std::min(options_.max_rows, text.rows - first),
                                            .first_position = first}};
    layers::Step step = make_step(piece, piece[0].rows);
    for (size_t layer = 0; layer < model_.layers().size(); ++layer) {
      if (encoded_->visits()[layer].kv_heads == 0) continue;
      step.layer = static_cast<int>(layer);
      for (const auto& part : model_.layers()[layer].parts) {
        arena_.reset();
        part.sublayer->encode(step, rows + first * encoder_->model_.hidden());
      }
    }
  }
}

Result<Route> Runner::plan_route(std::vector<recipe::Visit> visits, std::optional<recipe::ExitPlan> exit) const {
  if (std::ranges::any_of(visits, &recipe::Visit::beside) && span_input_ == nullptr)
    return fail(ErrorCode::kUnsupported, "route", "there is no room for layers side by side");
  if (exit && !early_exit_) return fail(ErrorCode::kUnsupported, "route", "there is no room for early exits");
  LAMINA_CHECK_OK(check_exit(model_, exit));
  const std::vector<recipe::Visit> own = placed_visits(options_);
  Route route;
  std::vector<size_t> next(model_.layers().size());  // where to look for the layer's next visit
  for (const recipe::Visit& visit : visits) {
    size_t& at = next[static_cast<size_t>(visit.layer)];
    while (at < own.size() && own[at].layer != visit.layer) ++at;
    if (at == own.size()) {
      return fail(ErrorCode::kUnsupported, "route", "it visits layer {} more often than the route that is served",
                  visit.layer);
    }
    const recipe::Visit& there = own[at];
    if ((visit.attention && !there.attention) || (visit.mlp && !there.mlp) || (visit.cross && !there.cross)) {
      return fail(ErrorCode::kUnsupported, "route", "layer {} lacks a part in the route that is served", visit.layer);
    }
    route.slots.push_back(slots_[at++]);
  }
  route.visits = std::move(visits);
  route.exit = std::move(exit);
  return route;
}

Status Runner::step(std::span<const BatchRow> rows, std::span<float> logits, const Route* route) {
  LAMINA_CHECK_OK(check(rows, logits.size()));
  LAMINA_CHECK_OK(group_rows(rows));
  core::set_float_mode();
  const auto count = static_cast<int64_t>(rows.size());
  if (profile_ != nullptr) {
    const bool reads = count > static_cast<int64_t>(groups_.size());
    profile_->start(reads ? layers::StepKind::kReading : layers::StepKind::kWriting);
  }
  layers::Step step = make_step(groups_, count);
  read_embedding(step);
  const auto& exit = route == nullptr ? options_.plan.exit : route->exit;
  const auto& fuse = options_.plan.fuse;
  const bool fuses = route == nullptr && fuse && fuse->weight != 0;
  visit_layers(step, {.visits = route == nullptr ? options_.plan.route : route->visits,
                      .slots = route == nullptr ? slots_ : route->slots,
                      .exit = exit ? &*exit : nullptr,
                      .fuse = fuses ? &*fuse : nullptr,
                      .reweaves = route == nullptr});
  compute_logits(step, rows, logits.data());
  if (fuses) fuse_logits(step, rows, logits.data());
  for (const layers::RowGroup& group : groups_) {
    if (model_.reads_ahead()) {
      std::ignore = cache_->truncate(group.sequence, 0);
    } else {
      cache_->set_length(group.sequence, group.first_position + group.rows);
    }
  }
  if (profile_ != nullptr) profile_->finish();
  return {};
}

}  // namespace lamina::run
