#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace lamina::text {

/// Turns one pre-tokenized word into token ids. Immutable, thread-safe.
class TokenModel {
 public:
  virtual ~TokenModel() = default;
  /// Appends the ids of `word` (valid UTF-8, not empty). Errors: kInvalid when a character has no token and the model
  /// has no unknown token where its format demands one.
  virtual core::Status encode(std::string_view word, std::vector<int32_t>& ids) const = 0;
};

}  // namespace lamina::text
