#pragma once

#include <string>

#include "embed/batches.h"
#include "lamina/session.h"
#include "text/pair_template.h"

namespace lamina::app {

/// What a text may be: `index` names it in messages.
struct TextRules {
  size_t index = 0;
  int64_t limit = 0;  ///< tokens, special ones included
  bool truncate = false;
};

/// Tokens that a text may have: --ctx, else the model's own limit, at most 4096 for models that keep a cache.
core::Result<int64_t> text_limit(const CommonOptions& options, int64_t own, const models::Model& model);

/// What running texts of that length in batches takes.
SessionNeeds encoder_needs(int64_t limit, const models::Model& model);

/// The tokens of a text. kLimit with both numbers when it is too long and may not be cut; cutting keeps special tokens.
core::Result<embed::Input> encode_text(const text::Tokenizer& tokenizer, const std::string& text,
                                       const TextRules& rules);

/// The template for pairs from the model's files.
core::Result<text::PairTemplate> load_pair_template(const models::Model& model, const text::Tokenizer& tokenizer);

/// The tokens of two texts as one input; as encode_text().
core::Result<embed::Input> encode_pair(const text::Tokenizer& tokenizer, const text::PairTemplate& pair,
                                       const std::string& first, const std::string& second, const TextRules& rules);

}  // namespace lamina::app
