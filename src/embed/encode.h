#pragma once

#include <string>

#include "embed/batches.h"
#include "embed/settings.h"
#include "text/pair_template.h"
#include "text/tokenizer.h"

namespace lamina::embed {

/// What a text may be: `index` names it in messages.
struct TextRules {
  size_t index = 0;
  int64_t limit = 0;  ///< tokens, special ones included
  bool truncate = false;
};

/// The text as the model wants it: the prompt before it, lower case if the settings say so.
std::string prepare_text(const Settings& settings, const std::string& prompt, const std::string& text);

/// The tokens of a text. kLimit with both numbers when it is too long and may not be cut; cutting keeps the special
/// tokens around the text.
core::Result<Input> encode_text(const text::Tokenizer& tokenizer, const std::string& text, const TextRules& rules);

/// The template for pairs from the model's files.
core::Result<text::PairTemplate> load_pair_template(const models::Model& model, const text::Tokenizer& tokenizer);

/// The tokens of two texts as one input; of a pair that is too long the longer text is cut first. As encode_text().
core::Result<Input> encode_pair(const text::Tokenizer& tokenizer, const text::PairTemplate& pair,
                                const std::string& first, const std::string& second, const TextRules& rules);

/// How many tokens each of two texts keeps so that both together have `room`: the longer one is cut first, then both.
struct PairLengths {
  int64_t first = 0;
  int64_t second = 0;
};
PairLengths cut_pair(int64_t first, int64_t second, int64_t room);

/// Rows at the front that belong to the prompt and not to what comes after it, for models that do not pool them.
core::Result<int64_t> prompt_rows(const text::Tokenizer& tokenizer, const std::string& prompt);

}  // namespace lamina::embed
