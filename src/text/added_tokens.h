#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "text/flat_map.h"

namespace lamina::text {

/// A token that is found in the text before the model sees it (tokenizer.json "added_tokens").
struct AddedToken {
  int32_t id = -1;
  std::string content;
  bool special = false;      ///< a control token; only parsed where the caller allows it
  bool normalized = false;   ///< looked for in the normalized text, not in the raw one
  bool single_word = false;  ///< only between non-word characters
  bool lstrip = false;       ///< takes the white space before it along
  bool rstrip = false;       ///< takes the white space after it along
};

/// A stretch of text between added tokens (`token` < 0), or an added token.
struct Section {
  size_t begin = 0;
  size_t end = 0;
  int32_t token = -1;
};

/// Finds a set of added tokens in text: leftmost, then longest.
class AddedTokenMatcher {
 public:
  /// Adds one token, looked for as `content` (its normalized form where that differs). Errors: kLimit when it is longer
  /// than 1024 bytes. An empty content is never found.
  core::Status add(const AddedToken& token, std::string_view content);

  /// Cuts `text` into sections that cover it, but for what empty sections would cover. Special tokens are left in the
  /// text unless `parse_special`; they still hide shorter tokens inside them.
  void split(std::string_view text, bool parse_special, std::vector<Section>& out) const;

  bool empty() const { return tokens_.empty(); }

 private:
  const AddedToken* match(std::string_view text, size_t at, size_t& length) const;

  std::vector<AddedToken> tokens_;
  FlatMap edges_;              ///< node << 8 | byte -> node
  std::vector<int32_t> ends_;  ///< by node: index of the token that ends there, or -1
  bool starts_[256] = {};
};

}  // namespace lamina::text
