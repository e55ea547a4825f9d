#pragma once

#include <string>
#include <vector>

#include "embed/embedder.h"
#include "embed/encode.h"
#include "serve/service.h"

namespace lamina::serve {

/// Tokens of all inputs together.
int64_t count_tokens(const std::vector<embed::Input>& inputs);

/// A text as an embedder reads it: behind that prompt of the model's files.
Answer<embed::Input> encode_text(const ServedModel& model, const std::string& text, const std::string& prompt,
                                 const embed::TextRules& rules);

/// Two texts as a reranker reads them.
Answer<embed::Input> encode_pair(const ServedModel& model, const std::string& first, const std::string& second,
                                 const embed::TextRules& rules);

/// Runs the inputs on that model and waits for their vectors, or scores (vectors of one number).
Answer<std::vector<std::vector<float>>> run_inputs(Call& call, size_t model, std::vector<embed::Input> inputs,
                                                   const embed::EmbedOptions& options = {});

}  // namespace lamina::serve
