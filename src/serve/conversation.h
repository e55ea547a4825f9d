#pragma once

#include <string>

#include "serve/reply.h"
#include "serve/served_model.h"

namespace lamina::serve {

/// A conversation as the model was trained to see it, from the fields messages, add_generation_prompt,
/// continue_final_message and chat_template_kwargs of a checked body. 400: a message that is none, or that holds what
/// text models cannot read; a template that refuses.
Answer<std::string> render_conversation(const ServedModel& model, const Json& body);

/// The same as tokens.
Answer<std::vector<int32_t>> encode_conversation(const ServedModel& model, const std::string& rendered);

}  // namespace lamina::serve
