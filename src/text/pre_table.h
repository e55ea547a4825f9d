#pragma once

#include <optional>
#include <span>
#include <string>
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
/// The first entry with exactly these patterns and habits, or nothing; add_bos does not count.
std::optional<PreSettings> find_pre(std::span<const std::string> patterns, bool nfc, bool ignore_merges);

}  // namespace lamina::text
