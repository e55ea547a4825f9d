#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "text/words.h"

namespace lamina::text {

/// Cuts words into smaller ones, and may rewrite them. Immutable, thread-safe.
class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  /// Errors: kLimit when a pattern gives up.
  virtual core::Status apply(Words& words) const = 0;
};

/// The GPT-2 pattern, which byte-level pre-tokenizers use unless told otherwise.
extern const std::string_view kGpt2Pattern;

/// A split by a regular expression, as "Split" in tokenizer.json.
core::Result<std::unique_ptr<PreTokenizer>> make_split(std::string_view regex, SplitBehavior behavior, bool invert);

/// The steps of a pre-tokenizer, in order.
struct PreTokenizerPlan {
  std::vector<std::unique_ptr<PreTokenizer>> steps;
  /// The last step was a byte-level one: words stay raw bytes and the model maps bytes itself, which is the same as
  /// writing each byte as its character but faster.
  bool raw_bytes = false;
};

/// Builds the steps from tokenizer.json's "pre_tokenizer" (null: none). Errors name the component.
core::Result<PreTokenizerPlan> make_pre_tokenizers(const nlohmann::json& spec);

}  // namespace lamina::text
