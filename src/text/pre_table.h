#pragma once

#include <optional>
#include <span>
#include <string_view>

namespace lamina::text {

/// How the byte-level tokenizers that GGUF's tokenizer.ggml.pre names cut text into words: each pattern splits what the
/// one before left, matches and the text between them becoming words.
struct PreSettings {
  std::string_view name;
  std::span<const std::string_view> patterns;
  bool nfc = false;            ///< the text is normalized to NFC first
  bool ignore_merges = false;  ///< a word that is a token is that token
  bool add_bos = false;        ///< unless the file says otherwise
};

/// The settings of `name`, or nothing.
std::optional<PreSettings> find_pre(std::string_view name);

}  // namespace lamina::text
