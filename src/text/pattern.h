#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace lamina::text {

/// A half-open range of bytes.
struct ByteRange {
  size_t begin = 0;
  size_t end = 0;
};

/// Rewrites a pattern in the dialect that tokenizer files are written in (Oniguruma, Ruby syntax, Unicode) into
/// PCRE2's:
/// \s, \S, \w, \W, \d, \D and \h mean their Unicode properties, nested classes and && become groups. Constructs whose
/// meaning would differ silently are refused (kUnsupported).
core::Result<std::string> translate_pattern(std::string_view pattern);

/// A compiled regular expression or a literal string. Immutable, may be used by many threads.
class Pattern {
 public:
  /// Compiles `pattern` (dialect of `translate_pattern`). Errors: kInvalid (syntax), kUnsupported, kLimit (too long).
  static core::Result<Pattern> regex(std::string_view pattern);
  /// Matches exactly `text`.
  static Pattern literal(std::string_view text);

  /// A literal never gives up.
  bool is_literal() const { return code_ == nullptr; }

  /// Appends the matches in valid UTF-8 `text`, left to right, not overlapping; an empty match directly after another
  /// is left out. Errors: kLimit when a search exceeds its step budget or stack.
  core::Status find_all(std::string_view text, std::vector<ByteRange>& out) const;

 private:
  Pattern() = default;

  std::string source_;
  std::shared_ptr<const void> code_;  // pcre2_code; null for a literal
};

}  // namespace lamina::text
