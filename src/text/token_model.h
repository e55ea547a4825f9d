#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace lamina::text {

/// Turns one pre-tokenized word into token ids. Immutable, thread-safe.
class TokenModel {
 public:
  TokenModel();
  virtual ~TokenModel() = default;
  TokenModel(const TokenModel&) = delete;
  TokenModel& operator=(const TokenModel&) = delete;

  /// Appends the ids of `word` (valid UTF-8 or raw bytes, not empty). Errors: kInvalid when a character has no token
  /// and the model has no unknown token where its format demands one.
  virtual core::Status encode(std::string_view word, std::vector<int32_t>& ids) const;

 protected:
  /// The same without the memory of words met before.
  virtual core::Status encode_anew(std::string_view word, std::vector<int32_t>& ids) const = 0;

 private:
  uint32_t number_;  ///< of no other model of this process
};

}  // namespace lamina::text
