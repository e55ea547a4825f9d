#pragma once

#include <memory>
#include <string>
#include <vector>

#include "text/added_tokens.h"
#include "text/decoders.h"
#include "text/flat_map.h"
#include "text/normalizers.h"
#include "text/pre_tokenizers.h"
#include "text/token_model.h"
#include "text/tokenizer.h"

namespace lamina::text {

/// Ids beyond this are taken for damage, not for a vocabulary.
inline constexpr int64_t kMaxVocabulary = int64_t{1} << 24;

/// The one place in a template that stands for the text.
inline constexpr int32_t kTextSlot = -1;

/// Everything a Tokenizer is made of. Filled by the readers of GGUF data and of tokenizer.json, then finished once.
struct TokenizerParts {
  AddedTokenMatcher raw_tokens;
  AddedTokenMatcher normalized_tokens;
  Normalizers normalizers;
  PreTokenizerPlan pre;
  std::unique_ptr<TokenModel> model;
  std::vector<int32_t> frame{kTextSlot};  ///< special tokens around the text
  DecodePlan decode;

  std::vector<std::string> texts;  ///< by id
  std::vector<TokenType> types;    ///< by id
  std::vector<bool> ends;
  StringMap ids;  ///< all texts; built by `finish` unless it is there

  int32_t bos = -1;
  int32_t eos = -1;
  int32_t eot = -1;
  int32_t unknown = -1;
  int32_t separator = -1;
  int32_t padding = -1;
  int32_t cls = -1;
  int32_t mask = -1;
  LengthSettings lengths;
  bool pairs_by_names = false;  ///< Tokenizer::pairs_by_names()

  bool in_range(int64_t id) const { return id >= 0 && id < static_cast<int64_t>(texts.size()); }
  bool is_added(int32_t id) const {
    const TokenType type = types[static_cast<size_t>(id)];
    return type == TokenType::kControl || type == TokenType::kUserDefined || type == TokenType::kUnknown;
  }

  /// The bytes that token `id` adds to a text; `first`: at its start.
  core::Result<std::string> make_piece(int32_t id, bool first) const;
  /// Registers added tokens with the matchers; `normalizers` must be set.
  core::Status add_tokens(const std::vector<AddedToken>& tokens);
  /// Fills `ends` and `ids` from the rest. Errors: kLimit when a pattern of the decoder gives up on a token.
  core::Status finish();
};

}  // namespace lamina::text
