#include "stats/sensitivity.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "run/divergence.h"

namespace lamina::stats {

using core::ErrorCode;
using core::fail;
using core::Status;

namespace {

uint64_t mix(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
  return value ^ (value >> 31);
}

/// Nearly normal, of variance 1: four 16-bit numbers, summed.
float normal(uint64_t seed) {
  const uint64_t bits = mix(seed);
  double sum = 0;
  for (int i = 0; i < 4; ++i) sum += static_cast<double>(bits >> (16 * i) & 0xffffu) / 65535.0 - 0.5;
  return static_cast<float>(sum * 1.7320508075688772);
}

/// Adds noise to the stream after the visits of one layer.
class Noise : public run::BorderHook {
 public:
  Noise(core::ThreadPool& pool, double size) : pool_(pool), size_(size) {}
  void start(int layer) {
    layer_ = layer;
    row_ = 0;
  }

  void at_border(const run::Border& border, float* stream) override {
    if (border.visit < 0 || border.layer != layer_) return;
    pool_.run([&](int index, int threads) {
      const core::Range range = core::split_range(border.rows, 1, index, threads);
      for (int64_t r = range.begin; r < range.end; ++r) disturb(stream + r * border.hidden, border.hidden, row_ + r);
    });
    row_ += border.rows;
  }

 private:
  void disturb(float* row, int64_t hidden, int64_t number) const {
    double square = 0;
    for (int64_t i = 0; i < hidden; ++i) square += double{row[i]} * double{row[i]};
    const auto scale = static_cast<float>(size_ * std::sqrt(square / static_cast<double>(hidden)));
    for (int64_t i = 0; i < hidden; ++i)
      row[i] += scale * normal(static_cast<uint64_t>(number * hidden + i) * 0x9E3779B97F4A7C15u);
  }

  core::ThreadPool& pool_;
  double size_;
  int layer_ = -1;
  int64_t row_ = 0;
};

/// Takes the hook off a runner however this ends.
class Attached {
 public:
  Attached(run::Runner& runner, run::BorderHook& hook) : runner_(runner) { runner_.set_hook(&hook); }
  ~Attached() { runner_.set_hook(nullptr); }
  Attached(const Attached&) = delete;
  Attached& operator=(const Attached&) = delete;

 private:
  run::Runner& runner_;
};

/// The logits of every token of a text that fits the runner's context.
Status predict(run::Runner& runner, std::span<const int32_t> tokens, std::span<float> logits) {
  LAMINA_ASSIGN(const cache::SequenceId sequence, runner.open());
  const auto most = static_cast<size_t>(runner.options().max_rows);
  const auto outputs = static_cast<size_t>(runner.model().head().outputs());
  std::vector<run::BatchRow> rows;
  Status status;
  for (size_t at = 0; status && at < tokens.size(); at += rows.size()) {
    rows.clear();
    for (const int32_t token : tokens.subspan(at, std::min(most, tokens.size() - at)))
      rows.push_back({.token = token, .sequence = sequence, .wants_logits = true});
    status = runner.step(rows, logits.subspan(at * outputs, rows.size() * outputs));
  }
  runner.close(sequence);
  return status;
}

}  // namespace

Status add_sensitivity(run::Runner& runner, core::ThreadPool& pool, std::span<const int32_t> tokens,
                       const SensitivityOptions& options, const PassProgress& progress, Statistics& statistics) {
  const layers::Head& head = runner.model().head();
  if (head.outputs() == 0 || head.labels()) {
    return fail(ErrorCode::kUnsupported, "sensitivity", "the model predicts no tokens, by which it is measured");
  }
  const auto window = static_cast<size_t>(options.window);
  const size_t windows = std::min(static_cast<size_t>(options.windows), tokens.size() / window);
  if (windows == 0) {
    return fail(ErrorCode::kInvalid, "sensitivity", "{} tokens; at least one window of {} expected", tokens.size(),
                options.window);
  }
  std::set<int> layers;
  for (const recipe::Visit& visit : runner.options().plan.route) layers.insert(visit.layer);
  Noise noise(pool, options.noise);
  const Attached attached(runner, noise);
  const auto outputs = static_cast<size_t>(head.outputs());
  std::vector<float> clean(window * outputs);
  std::vector<float> disturbed(clean.size());
  const auto total = static_cast<int64_t>(windows * (layers.size() + 1));
  int64_t done = 0;
  for (size_t w = 0; w < windows; ++w) {
    const std::span<const int32_t> text = tokens.subspan(w * window, window);
    noise.start(-1);
    LAMINA_CHECK_OK(predict(runner, text, clean));
    ++done;
    for (const int layer : layers) {
      if (progress && !progress(done++, total)) return fail(ErrorCode::kCancelled, "sensitivity", "cancelled");
      const auto part = std::ranges::find_if(
          statistics.parts, [layer](const PartStats& one) { return one.layer == layer && one.role == "layer"; });
      if (part == statistics.parts.end())
        return fail(ErrorCode::kInvalid, "sensitivity", "statistics of layer {} are missing", layer);
      noise.start(layer);
      LAMINA_CHECK_OK(predict(runner, text, disturbed));
      const double mean = run::mean_divergence(pool, clean, disturbed, window) / (options.noise * options.noise);
      part->sensitivity += mean * static_cast<double>(window);
      part->disturbed_rows += static_cast<int64_t>(window);
    }
  }
  return {};
}

}  // namespace lamina::stats
