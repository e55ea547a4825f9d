#pragma once

#include <string>
#include <vector>

#include "serve/reply.h"
#include "serve/served_model.h"

namespace lamina::serve {

/// A text that a request gives, as text or as tokens.
struct Prompt {
  std::string text;             ///< of the tokens, if those were given
  std::vector<int32_t> tokens;  ///< at least one
  bool as_tokens = false;       ///< whether tokens were given
};

/// Texts of a request in one field: a text, several, tokens, or several lists of them.
Answer<std::vector<Prompt>> read_prompts(const Json& value, std::string_view field, const ServedModel& model);

/// A checked list of tokens of the model's vocabulary.
Answer<std::vector<int32_t>> read_tokens(const Json& list, std::string_view field, const ServedModel& model);

}  // namespace lamina::serve
