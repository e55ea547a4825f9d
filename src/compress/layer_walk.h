#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "core/result.h"
#include "core/thread_pool.h"
#include "models/model.h"
#include "recipe/plan.h"
#include "run/runner.h"

namespace lamina::compress {

/// The rows of one window as they leave the first layer of a walk.
struct MetRows {
  int64_t window = 0;
  int64_t count = 0;
  std::span<const layers::InputRows> inputs{};  ///< what each of the walk's readers read
  float* stream = nullptr;                      ///< [count, hidden]; may be changed
};

/// What is run over some windows of a text, and what is seen of it.
struct Walk {
  std::vector<recipe::Visit> visits{};  ///< at least one
  int64_t begin = 0;                    ///< windows [begin, end)
  int64_t end = 0;
  /// The stream of all windows that the first visit reads, [windows * window, hidden]; null: the text's embeddings.
  const std::vector<float>* from = nullptr;
  /// Where the stream after the last visit goes, which may be `from`; null: nowhere.
  std::vector<float>* to = nullptr;
  std::vector<const layers::Linear*> readers{};  ///< matrices of the first visit's layer
  std::function<core::Status(const MetRows& rows)> meet{};
  /// Told the logits of all rows of a window, [window, vocabulary].
  std::function<core::Status(int64_t window, std::span<const float> logits)> predict{};
};

/// Takes a text through a model some layers at a time, window by window, each a text of its own. The streams between
/// are the caller's.
class LayerWalker {
 public:
  /// The model must be loaded and outlive this. kInvalid: less than `least` windows, with both numbers; kUnsupported:
  /// an encoder-decoder, or a model that visits layers more than once.
  static core::Result<LayerWalker> create(const models::Model& model, core::ThreadPool& pool,
                                          std::span<const int32_t> tokens, int64_t window, int64_t least);

  int64_t windows() const { return windows_; }
  int64_t window() const { return window_; }
  int64_t rows() const { return windows_ * window_; }
  /// Whether a window is in one of the stretches of the text that judge fits to the others: every `every`-th of 16.
  bool judges(int64_t window, int64_t every) const;
  /// A visit of the layer without parts of these roles.
  recipe::Visit visit(int layer, const std::set<std::string>& without = {}) const;
  /// Errors of the functions end it.
  core::Status run(const Walk& walk) const;

 private:
  LayerWalker(const models::Model& model, core::ThreadPool& pool, std::span<const int32_t> tokens)
      : model_(&model), pool_(&pool), tokens_(tokens) {}

  const models::Model* model_;
  core::ThreadPool* pool_;
  std::span<const int32_t> tokens_;
  recipe::RunPlan plan_;  ///< of the whole model
  int64_t window_ = 0;
  int64_t windows_ = 0;
};

}  // namespace lamina::compress
