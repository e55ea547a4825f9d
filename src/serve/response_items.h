#pragma once

#include "serve/reply.h"

namespace lamina::serve {

/// The messages that the "input" of a /v1/responses request means, as /v1/chat/completions takes them: a text of the
/// user, or items: messages, calls of tools, their results, and thoughts. 400: an item that is none of these.
Answer<Json> read_items(const Json& input);

/// The fields tools, tool_choice, parallel_tool_calls, reasoning and text.format of a checked /v1/responses body, as
/// /v1/chat/completions takes them. 400: a tool or a format that is none.
Answer<Json> chat_fields_of(const Json& body);

}  // namespace lamina::serve
