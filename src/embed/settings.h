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
  bool lower_case = false;          ///< texts are lowered before the tokenizer sees them
  bool types = true;                ///< the tokenizer tells the texts of a pair apart
  bool any_dimensions = false;      ///< trained so that every prefix of a vector works (Kusupati et al. 2022)
  std::vector<int64_t> dimensions;  ///< prefixes that work
  int64_t own_dimensions = 0;       ///< the prefix that the model's files ask for; 0: none
  std::vector<Dense> dense;
};

/// Reads modules.json and the folders that it lists (pooling, dense layers), sentence_bert_config.json,
/// config_sentence_transformers.json and tokenizer_config.json beside the weights; of a GGUF file, {arch}.pooling_type.
/// Without them: the mean of an encoder, the last row of another model, normalized. Errors: kCorrupt, kUnsupported (a
/// module or a part of one that is unknown), kIo.
core::Result<Settings> read_settings(const models::Model& model);

/// The prompt of that name; of no name, the default one if there is one. kInvalid lists the names.
core::Result<std::string> find_prompt(const Settings& settings, const std::string& name);

/// Whether vectors of `size` numbers may be cut to the first `wanted`: where the model says that it was trained for it,
/// or by force. kInvalid says why not.
core::Status check_dimensions(const Settings& settings, int64_t size, int64_t wanted, bool force);

}  // namespace lamina::embed
