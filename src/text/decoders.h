#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace lamina::text {

/// One step from a vocabulary entry to the bytes that it adds to a text.
class DecodeStep {
 public:
  virtual ~DecodeStep() = default;
  /// `first`: the token begins the text. Errors: kLimit when a pattern gives up.
  virtual core::Status apply(std::string& token, bool first) const = 0;
};

/// How tokens become text: each token alone, then what concerns the whole.
struct DecodePlan {
  std::vector<std::unique_ptr<DecodeStep>> steps;
  std::string strip_character;       ///< removed from the start of the text ...
  int64_t strip_count = 0;           ///< ... up to so many times
  bool hold_trailing_space = false;  ///< the space that ends a token shows only if another follows
  bool byte_level = false;           ///< pieces are written in the byte alphabet; added tokens are not
  bool may_fail = false;             ///< a pattern may give up on a token
  bool joins_equal = false;          ///< neighbours that are the same token count once
  bool fused = false;                ///< while building: later steps would see the whole text

  /// The bytes of `token`.
  core::Result<std::string> piece(std::string_view token, bool first) const;
};

/// Builds the plan from tokenizer.json's "decoder" (null: tokens joined by spaces). Errors name the component.
core::Result<DecodePlan> make_decoders(const nlohmann::json& spec);

}  // namespace lamina::text
