#pragma once

#include <span>
#include <string_view>

#include "serve/reply.h"

namespace lamina::serve {

/// A vector as /v1/embeddings tells it, by "encoding_format":
/// - float: numbers; base64: these as little-endian float32.
/// - int8: whole numbers from -127 to 127, and "scale": a number is about scale times its code.
/// - ubinary: bytes of eight signs each, 1 for above zero, the first in the highest bit, the last byte filled with
///   zeros; binary: the same bytes less 128 (sentence-transformers' names and forms).
/// An object with "embedding", and "scale" for int8.
Json code_vector(std::span<const float> vector, std::string_view format);

}  // namespace lamina::serve
