#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/result.h"

namespace lamina::text {

/// A merge as its file lists it: two tokens.
using MergeText = std::pair<std::string, std::string>;

/// An entry of a Unigram vocabulary as its file lists it: a token and its score.
using PieceText = std::pair<std::string, double>;

/// A tokenizer.json, read in one pass: the long lists lie flat, the rest is a tree.
struct TokenizerDocument {
  nlohmann::json root;                                      ///< with empty lists for model.vocab and model.merges
  std::vector<std::pair<std::string, int32_t>> vocabulary;  ///< model.vocab, if it is an object
  std::vector<PieceText> pieces;                            ///< model.vocab, if it is a list
  std::optional<std::vector<MergeText>> merges;             ///< model.merges, if it is a list
};

/// Parses `text`. Errors (kCorrupt) name `place` and the byte or the key: broken JSON, no object, a key given twice,
/// deeper than 64, an id that is no number below 2^24, a merge that is not "left right" or ["left", "right"], a piece
/// that is not ["text", score].
core::Result<TokenizerDocument> read_tokenizer_document(std::string_view text, std::string_view place);

}  // namespace lamina::text
