#pragma once

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "text/tokenizer.h"
#include "text/utf8.h"

namespace lamina::fuzz {

inline void require(bool holds) {
  if (!holds) std::abort();
}

/// Encodes and decodes `input`, whole and token by token, and stops the program where the two disagree.
inline void exercise(const text::Tokenizer& tokenizer, std::string_view input) {
  for (const bool special : {false, true}) {
    const auto ids = tokenizer.encode(input, text::EncodeOptions{.add_special = special, .parse_special = special});
    if (!ids) continue;
    for (const int32_t id : *ids) require(id >= 0 && id < tokenizer.vocabulary());
    const std::string decoded = tokenizer.decode(*ids, !special);
    require(text::valid_prefix(decoded) == decoded.size());
    text::StreamDecoder stream(tokenizer, !special);
    std::string streamed;
    for (const int32_t id : *ids) {
      const std::string part = stream.push(id);
      require(text::valid_prefix(part) == part.size());
      streamed += part;
    }
    require(streamed + stream.finish() == decoded);
    // A second time, with the words that are remembered now.
    const auto again = tokenizer.encode(input, text::EncodeOptions{.add_special = special, .parse_special = special});
    require(again && *again == *ids);
  }
}

}  // namespace lamina::fuzz
