#pragma once

#include <string>

#include "serve/reply.h"
#include "serve/served_model.h"
#include "serve/tools.h"

namespace lamina::serve {

/// A conversation as the model was trained to see it.
struct Conversation {
  std::string text;
  ToolUse tools{};
  bool continues = false;      ///< the text ends inside the last message
  bool begins_inside = false;  ///< the text has opened the model's thoughts
  bool may_think = false;      ///< the answer may begin with thoughts
  const AnswerForm* form = nullptr;
};

/// From the fields messages, tools, tool_choice, parallel_tool_calls, add_generation_prompt, continue_final_message and
/// chat_template_kwargs of a checked body. 400: a message or a tool that is none, or that holds what text models cannot
/// read; tools that the model has no form for; a template that refuses.
Answer<Conversation> render_conversation(const ServedModel& model, const Json& body);

/// The same as tokens.
Answer<std::vector<int32_t>> encode_conversation(const ServedModel& model, const std::string& rendered);

}  // namespace lamina::serve
