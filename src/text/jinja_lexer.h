#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lamina::text::jinja {

enum class TokenKind : uint8_t {
  kData,           ///< text between tags, white space already trimmed
  kVariableBegin,  ///< {{
  kVariableEnd,    ///< }}
  kBlockBegin,     ///< {%
  kBlockEnd,       ///< %}
  kName,
  kString,
  kInteger,
  kReal,
  kOperator,
  kEnd,
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  std::string text;  ///< data, name, decoded string, or operator
  int64_t integer = 0;
  double real = 0;
  int line = 1;

  bool is_name(std::string_view name) const { return kind == TokenKind::kName && text == name; }
  bool is_operator(std::string_view sign) const { return kind == TokenKind::kOperator && text == sign; }
  /// How messages call it.
  std::string describe() const;
};

/// Splits a template into tokens the way Jinja2 does with trim_blocks and lstrip_blocks set. The last one is kEnd.
/// Raises a Failure with its line number.
std::vector<Token> tokenize(std::string_view source);

}  // namespace lamina::text::jinja
