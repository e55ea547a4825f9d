#pragma once

#include "core/result.h"
#include "text/tokenizer.h"

namespace lamina::text {

/// kUnsupported with the text, when the two tokenizers cut one of a small set of telling texts into different ids.
core::Status check_alike(const Tokenizer& from, const Tokenizer& to);

}  // namespace lamina::text
