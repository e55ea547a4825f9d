#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/result.h"
#include "core/thread_pool.h"
#include "models/model.h"
#include "stats/gram.h"

namespace lamina::compress {

/// The tokens of a text by the model's own tokenizer, `most` of them at most. kIo; kUnsupported: no tokenizer.
core::Result<std::vector<int32_t>> read_tokens(const std::filesystem::path& text, const format::ModelFiles& files,
                                               int64_t most);

/// The Gram matrices of what the matrices of one layer read.
class LayerGrams : public layers::InputRecorder {
 public:
  /// Loads the model of these files and reads the tokens, `window` of them at once, with the layers up to this one.
  /// kInvalid: less than one window.
  static core::Result<LayerGrams> collect(const format::ModelFiles& files, int layer, std::span<const int32_t> tokens,
                                          int64_t window, core::ThreadPool& pool);

  /// That of the matrices in a tensor, by its name in the model; null where they do not read the same, as experts.
  const stats::Gram* of(const std::string& tensor) const;

  void record(std::span<const layers::Linear* const> readers, const layers::InputRows& rows) override;

 private:
  /// A matrix of the layer. The model is gone when it is asked for.
  struct Place {
    std::string tensor;
    int gram = -1;  ///< -1: nothing was read yet; -2: it read with others by turns
  };
  LayerGrams(const layers::Layer& layer, core::ThreadPool& pool);

  std::map<const layers::Linear*, Place> places_;
  std::vector<stats::Gram> grams_;
  stats::GramAdder adder_;
  core::Status status_;
};

}  // namespace lamina::compress
