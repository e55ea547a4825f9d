#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "text/jinja_value.h"

namespace lamina::text::jinja {

/// A string under construction that refuses to pass a size.
class BoundedText {
 public:
  explicit BoundedText(int64_t limit) : limit_(static_cast<size_t>(limit)) {}

  void append(std::string_view piece) {
    if (piece.size() > limit_ - bytes_.size()) too_long();
    bytes_.append(piece);
  }
  void append(char c) { append(std::string_view(&c, 1)); }
  /// Appends `piece` `count` times; a negative count is 0.
  void repeat(std::string_view piece, int64_t count);
  size_t size() const { return bytes_.size(); }
  std::string take() { return std::move(bytes_); }

 private:
  [[noreturn]] void too_long() const;

  size_t limit_;
  std::string bytes_;
};

/// How json.dumps() is called by the tojson filter.
struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  std::optional<std::string> indent;  ///< one level of indentation; absent: one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};

/// Python's repr(float).
std::string print_real(double value);
/// Python's repr() of a string.
std::string quote(std::string_view text);
/// Python's repr(), at most `limit` bytes.
std::string repr(const Value& value, int64_t limit = 4096);
/// Python's ascii(): repr() with what is not ASCII as escapes.
std::string ascii_repr(const Value& value, int64_t limit = 4096);
/// Python's str(), at most `limit` bytes.
std::string str(const Value& value, int64_t limit);
/// Python's json.dumps(), at most `limit` bytes. Raises for what JSON cannot hold.
std::string to_json(const Value& value, const JsonStyle& style, int64_t limit);

}  // namespace lamina::text::jinja
