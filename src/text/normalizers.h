#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace lamina::text {

/// A stretch of text on its way through the normalizers.
struct NormalText {
  std::string text;
  bool at_start = false;  ///< its first byte stems from the first byte of the whole input
};

/// Rewrites text before it is cut into words. Immutable, thread-safe.
class Normalizer {
 public:
  virtual ~Normalizer() = default;
  /// `text.text` is valid UTF-8 before and after. Errors: kLimit when a pattern gives up or the text grows too big.
  virtual core::Status apply(NormalText& text) const = 0;
};

using Normalizers = std::vector<std::unique_ptr<Normalizer>>;

/// Builds the steps from tokenizer.json's "normalizer" (null: none). Errors name the component.
core::Result<Normalizers> make_normalizers(const nlohmann::json& spec);

/// The character map of a SentencePiece model: u32 size of a double-array trie, the trie, then zero-ended strings.
/// Errors: kCorrupt.
core::Result<std::unique_ptr<Normalizer>> make_charsmap(std::string_view blob);

/// Applies all steps.
core::Status normalize(const Normalizers& steps, NormalText& text);

}  // namespace lamina::text
