#pragma once

#include "serve/reply.h"

namespace lamina::serve {

/// A checked body of /v1/messages as one of /v1/chat/completions: messages whose blocks of text, thoughts, calls and
/// results become messages with tool_calls and results, tools, tool_choice, thinking. 400: a block that is none, or
/// that text models cannot read.
Answer<Json> chat_body_of(const Json& body);

}  // namespace lamina::serve
