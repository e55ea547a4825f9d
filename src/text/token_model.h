#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace lamina::text {

class WordCache;

/// Turns one pre-tokenized word into token ids. Immutable, thread-safe.
class TokenModel {
 public:
  TokenModel();
  virtual ~TokenModel() = default;
  TokenModel(const TokenModel&) = delete;
  TokenModel& operator=(const TokenModel&) = delete;

  /// Appends the ids of `word` (valid UTF-8 or raw bytes, not empty). Control tokens are among them only if `control`,
  /// as text may become them by normalization. Errors: kInvalid when a character has no token and the model has no
  /// unknown token where its format demands one.
  virtual core::Status encode(std::string_view word, bool control, WordCache& cache, std::vector<int32_t>& ids) const;

 protected:
  /// The same without `cache`, the memory of words met before.
  virtual core::Status encode_anew(std::string_view word, bool control, std::vector<int32_t>& ids) const = 0;

  /// `ids`, sorted, are those of control tokens.
  void set_control(const std::vector<int32_t>& ids);
  bool is_control(int32_t id) const {
    return static_cast<size_t>(id) < control_.size() && control_[static_cast<size_t>(id)];
  }

 private:
  uint32_t number_;  ///< this and the next are of no other model of this process
  std::vector<bool> control_;
};

}  // namespace lamina::text
