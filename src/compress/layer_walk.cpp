#include "compress/layer_walk.h"

#include <algorithm>

#include "run/plan_recipe.h"
#include "run/route_cost.h"

namespace lamina::compress {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

namespace {

/// Puts the caller's stream in the place of the embeddings, shows what leaves the first layer, and keeps what leaves
/// the last one.
class WalkHook : public run::BorderHook, public layers::InputRecorder {
 public:
  WalkHook(const Walk& walk, int64_t window)
      : walk_(walk), window_(window), read_(walk.readers.size()), inputs_(walk.readers.size()) {}
  void start(int64_t window) { number_ = window; }
  const Status& status() const { return status_; }

  void record(std::span<const layers::Linear* const> readers, const layers::InputRows& rows) override {
    for (size_t i = 0; i < walk_.readers.size(); ++i) {
      if (std::ranges::find(readers, walk_.readers[i]) == readers.end()) continue;
      read_[i].assign(rows.data, rows.data + rows.count * rows.stride);
      inputs_[i] = {.data = read_[i].data(), .stride = rows.stride, .count = rows.count};
    }
  }

  void at_border(const run::Border& border, float* stream) override {
    const auto size = static_cast<size_t>(border.rows * border.hidden);
    const auto at = static_cast<size_t>(number_ * window_ * border.hidden);
    if (border.visit < 0) {
      if (walk_.from != nullptr) std::copy_n(walk_.from->data() + at, size, stream);
      return;
    }
    if (border.visit == 0 && walk_.meet && status_)
      status_ = walk_.meet({.window = number_, .count = border.rows, .inputs = inputs_, .stream = stream});
    const bool last = static_cast<size_t>(border.visit) + 1 == walk_.visits.size();
    if (last && walk_.to != nullptr) std::copy_n(stream, size, walk_.to->data() + at);
  }

 private:
  const Walk& walk_;
  int64_t window_;
  int64_t number_ = 0;
  std::vector<std::vector<float>> read_;  ///< by reader
  std::vector<layers::InputRows> inputs_;
  Status status_;
};

}  // namespace

Result<LayerWalker> LayerWalker::create(const models::Model& model, core::ThreadPool& pool,
                                        std::span<const int32_t> tokens, int64_t window, int64_t least) {
  LayerWalker walker(model, pool, tokens);
  walker.window_ = std::min(window, model.context());
  walker.windows_ = std::ssize(tokens) / walker.window_;
  const std::string place = model.files().path().string();
  if (model.encoder() != nullptr)
    return fail(ErrorCode::kUnsupported, place, "an encoder-decoder reads two texts; a model of one stack expected");
  LAMINA_ASSIGN(walker.plan_, run::plan_recipe("", model));
  for (size_t i = 0; i < walker.plan_.route.size(); ++i) {
    if (walker.plan_.route[i].layer == static_cast<int>(i)) continue;
    return fail(ErrorCode::kUnsupported, place, "layers run more than once; a model that visits each once expected");
  }
  if (walker.windows_ >= least) return walker;
  return fail(ErrorCode::kInvalid, "calibration text", "{} tokens; at least {} windows of {} expected", tokens.size(),
              least, walker.window_);
}

bool LayerWalker::judges(int64_t window, int64_t every) const {
  constexpr int64_t kStretches = 16;
  return window * std::min(kStretches, windows_) / windows_ % every == every - 1;
}

recipe::Visit LayerWalker::visit(int layer, const std::set<std::string>& without) const {
  recipe::Visit visit = plan_.route[static_cast<size_t>(layer)];
  for (const std::string& role : without) {
    if (run::mixes_tokens(role)) visit.attention = false;
    if (role == "mlp") visit.mlp = false;
    if (role == "cross") visit.cross = false;
  }
  return visit;
}

Status LayerWalker::run(const Walk& walk) const {
  recipe::RunPlan plan = plan_;
  plan.route = walk.visits;
  LAMINA_ASSIGN(
      const std::unique_ptr<run::Runner> runner,
      run::Runner::create(*model_, *pool_, {.plan = plan, .context = window_, .sequences = 1, .max_rows = window_}));
  WalkHook hook(walk, window_);
  runner->set_hook(&hook);
  if (!walk.readers.empty()) runner->set_recorder(&hook);
  const auto outputs = walk.predict ? model_->head().outputs() : 0;
  std::vector<float> logits(static_cast<size_t>(window_ * outputs));
  std::vector<run::BatchRow> rows;
  for (int64_t w = walk.begin; w < walk.end; ++w) {
    hook.start(w);
    LAMINA_ASSIGN(const cache::SequenceId sequence, runner->open());
    rows.clear();
    for (const int32_t token : tokens_.subspan(static_cast<size_t>(w * window_), static_cast<size_t>(window_)))
      rows.push_back({.token = token, .sequence = sequence, .wants_logits = outputs > 0});
    LAMINA_CHECK_OK(runner->step(rows, logits));
    runner->close(sequence);
    LAMINA_CHECK_OK(hook.status());
    if (walk.predict) LAMINA_CHECK_OK(walk.predict(w, logits));
  }
  return {};
}

}  // namespace lamina::compress
