#pragma once

#include "serve/fields.h"
#include "serve/sequence.h"
#include "serve/served_model.h"

namespace lamina::serve {

/// Reads the field `recipe`: a route of the request's own, with sublayers left out, and how its tokens are guessed. 400
/// for what would change weights or the cache, for visits that the served route has not, and for a draft's model.
Answer<void> read_recipe(const Json& body, const ServedModel& model, GenerationJob& job);

}  // namespace lamina::serve
