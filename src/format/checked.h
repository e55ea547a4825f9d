#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace lamina::format {

/// a * b for non-negative numbers, or nothing when it does not fit.
inline std::optional<int64_t> checked_multiply(int64_t a, int64_t b) {
  if (a < 0 || b < 0) return std::nullopt;
  if (b != 0 && a > std::numeric_limits<int64_t>::max() / b) return std::nullopt;
  return a * b;
}

/// Reads little-endian numbers and pieces of a byte range, and never past its end.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  size_t position() const { return position_; }
  size_t left() const { return bytes_.size() - position_; }

  /// False, and nothing consumed, when fewer than sizeof(T) bytes are left.
  template <typename T>
  bool read(T& value) {
    if (left() < sizeof(T)) return false;
    std::memcpy(&value, bytes_.data() + position_, sizeof(T));
    position_ += sizeof(T);
    return true;
  }

  /// The next `size` bytes; false, and nothing consumed, when fewer are left.
  bool take(uint64_t size, std::span<const std::byte>& piece) {
    if (size > left()) return false;
    piece = bytes_.subspan(position_, static_cast<size_t>(size));
    position_ += static_cast<size_t>(size);
    return true;
  }

 private:
  std::span<const std::byte> bytes_;
  size_t position_ = 0;
};

/// Whether `text` is well-formed UTF-8; with `allow_control` false also free of control characters.
bool is_clean_utf8(std::string_view text, bool allow_control = true);
/// `text` with each malformed byte replaced by U+FFFD.
std::string repaired_utf8(std::string_view text);
/// At most `limit` bytes of text from a file, fit to be shown in a message: malformed and control bytes become '?'.
std::string excerpt(std::string_view text, size_t limit = 80);

}  // namespace lamina::format
