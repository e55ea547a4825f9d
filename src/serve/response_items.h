#pragma once

#include "serve/reply.h"

namespace lamina::serve {

/// The messages that the "input" of a /v1/responses request means: a text of the user, or items. 400: an item that is
/// no message of text.
Answer<Json> read_items(const Json& input);

}  // namespace lamina::serve
