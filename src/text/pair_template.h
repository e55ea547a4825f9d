#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "text/tokenizer.h"

namespace lamina::text {

/// Two texts as one input: ids, and for each the token type that tells which text it belongs to.
struct PairTokens {
  std::vector<int32_t> ids;
  std::vector<int32_t> types;
};

/// The special tokens that a tokenizer puts around a pair of texts.
class PairTemplate {
 public:
  /// From "post_processor" of a tokenizer.json: "pair" of TemplateProcessing, or the fixed pairs of BertProcessing and
  /// RobertaProcessing. kUnsupported when it has no template for pairs, kCorrupt when that is damaged.
  static core::Result<PairTemplate> from_json(std::string_view tokenizer_json);
  /// CLS A SEP B SEP, the second text with its SEP of type 1, for tokenizers that only name the tokens (GGUF).
  /// kUnsupported when one of them is missing, or when pairs of that kind of tokenizer may look different: files made
  /// from models with CLS A SEP SEP B SEP say nothing of it.
  static core::Result<PairTemplate> from_names(const Tokenizer& tokenizer);

  /// Special tokens of a pair.
  int64_t special_tokens() const { return static_cast<int64_t>(items_.size()) - 2; }
  /// The ids of two texts, encoded without special tokens, put into the template.
  PairTokens fill(std::span<const int32_t> first, std::span<const int32_t> second) const;

 private:
  struct Item {
    int32_t id = 0;  ///< kFirst, kSecond or a special token
    int32_t type = 0;
  };
  static constexpr int32_t kFirst = -1;
  static constexpr int32_t kSecond = -2;

  core::Status check() const;

  std::vector<Item> items_;
};

}  // namespace lamina::text
