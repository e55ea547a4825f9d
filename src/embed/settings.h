#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/result.h"
#include "embed/pooling.h"
#include "kernels/activation.h"
#include "models/model.h"

namespace lamina::embed {

/// A product after pooling: activation(W x + b), W [outputs, inputs].
struct Dense {
  int64_t inputs = 0;
  int64_t outputs = 0;
  std::vector<float> weight;
  std::vector<float> bias;  ///< empty: none
  kernels::Activation activation = kernels::Activation::kIdentity;
};

/// What the model's own files say about embedding texts with it.
struct Settings {
  Pooling pooling = Pooling::kMean;
  bool normalize = true;
  int64_t limit = 0;                           ///< tokens of a text, special ones included
  std::map<std::string, std::string> prompts;  ///< by name; put before each text
  std::string default_prompt;                  ///< a name, or empty
  bool pools_prompt = true;
  bool any_dimensions = false;      ///< trained so that every prefix of a vector works (Kusupati et al. 2022)
  std::vector<int64_t> dimensions;  ///< prefixes that work
  std::vector<Dense> dense;
};

/// Reads modules.json, 1_Pooling/config.json, 2_Dense/*, sentence_bert_config.json, config_sentence_transformers.json
/// and tokenizer_config.json beside the weights; of a GGUF file, {arch}.pooling_type. Without them: the mean of an
/// encoder, the last row of another model, normalized. Errors: kCorrupt, kUnsupported (a module that is unknown), kIo.
core::Result<Settings> read_settings(const models::Model& model);

}  // namespace lamina::embed
