#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/result.h"
#include "text/token_model.h"
#include "text/tokenizer_document.h"

namespace lamina::text {

/// A vocabulary as its file lists it.
using VocabularyList = std::vector<std::pair<std::string, int32_t>>;

/// What a reader of tokenizer.json's "model" needs to know of the rest of the file, and what it gives back.
struct ModelSpec {
  const nlohmann::json& model;
  const std::optional<std::vector<MergeText>>& merges;
  const std::vector<PieceText>& pieces;
  bool raw_bytes = false;        ///< words come as bytes, not as characters of the byte alphabet
  std::vector<int32_t> special;  ///< ids of control tokens, sorted
  VocabularyList vocabulary;     ///< all entries; out where they are `pieces`
  int32_t unknown = -1;          ///< out
};

/// Builds the model. Errors name the entry at fault.
core::Result<std::unique_ptr<TokenModel>> make_model(ModelSpec& spec);

}  // namespace lamina::text
