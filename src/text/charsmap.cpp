#include <utf8proc.h>

#include <algorithm>
#include <cstring>
#include <iterator>

#include "text/normalizers.h"
#include "text/unicode_tables.h"
#include "text/utf8.h"

namespace lamina::text {
namespace {

/// Graphemes of at least this many bytes are mapped character by character.
constexpr size_t kLongGrapheme = 6;

/// Marks of later versions of Unicode than the library's, which the reference joins to what precedes them.
bool is_joined(char32_t c) {
  const auto* span = std::ranges::lower_bound(tables::kJoined, c, {}, &tables::UnicodeSpan::last);
  return span != std::end(tables::kJoined) && span->first <= c;
}

/// The double-array trie of Darts-clone: a unit holds label (8 bits), leaf flag (bit 8) and offset (bits 9 to 31), or,
/// at the end of a key, a 31-bit value.
class Charsmap final : public Normalizer {
 public:
  Charsmap(std::vector<uint32_t> units, std::string strings) : units_(std::move(units)), strings_(std::move(strings)) {}

  core::Status apply(NormalText& text) const override {
    std::string out;
    out.reserve(text.text.size());
    utf8proc_int32_t state = 0;
    const std::string_view all = text.text;
    for (size_t begin = 0; begin < all.size();) {
      size_t end = begin;
      char32_t last = next_character(all, end);
      while (end < all.size()) {
        size_t after = end;
        const char32_t c = next_character(all, after);
        const bool breaks = utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(last),
                                                             static_cast<utf8proc_int32_t>(c), &state);
        if (breaks && !is_joined(c)) break;
        last = c;
        end = after;
      }
      write_grapheme(all.substr(begin, end - begin), out);
      if (out.empty()) text.at_start = false;
      begin = end;
    }
    text.text = std::move(out);
    return {};
  }

 private:
  void write_grapheme(std::string_view grapheme, std::string& out) const {
    if (grapheme.size() < kLongGrapheme && map(grapheme, out)) return;
    for (size_t position = 0; position < grapheme.size();) {
      const size_t begin = position;
      next_character(grapheme, position);
      const std::string_view character = grapheme.substr(begin, position - begin);
      if (!map(character, out)) out.append(character);
    }
  }

  /// Appends what the shortest known key at the start of `key` maps to. The shortest, not the longest, is what the
  /// published tokenizer files were made with.
  bool map(std::string_view key, std::string& out) const {
    size_t node = offset(units_[0]);
    for (const char c : key) {
      const auto byte = static_cast<uint8_t>(c);
      if (byte == 0) return false;
      node ^= byte;
      if (node >= units_.size()) return false;
      const uint32_t unit = units_[node];
      if ((unit & 0x800000FFU) != byte) return false;
      node ^= offset(unit);
      if (((unit >> 8) & 1) == 0) continue;
      if (node >= units_.size()) return false;
      const size_t value = units_[node] & 0x7FFFFFFFU;
      if (value >= strings_.size()) return false;
      append_valid(out, strings_.c_str() + value);
      return true;
    }
    return false;
  }

  static size_t offset(uint32_t unit) { return size_t{unit >> 10} << ((unit & (1U << 9)) >> 6); }

  std::vector<uint32_t> units_;
  std::string strings_;
};

}  // namespace

core::Result<std::unique_ptr<Normalizer>> make_charsmap(std::string_view blob) {
  uint32_t bytes = 0;
  if (blob.size() < 4) return core::fail(core::ErrorCode::kCorrupt, "charsmap", "{} bytes long", blob.size());
  std::memcpy(&bytes, blob.data(), 4);
  if (bytes == 0 || bytes % 4 != 0 || bytes > blob.size() - 4) {
    return core::fail(core::ErrorCode::kCorrupt, "charsmap", "trie of {} bytes in a map of {}", bytes, blob.size());
  }
  std::vector<uint32_t> units(bytes / 4);
  std::memcpy(units.data(), blob.data() + 4, bytes);
  return std::make_unique<Charsmap>(std::move(units), std::string(blob.substr(4 + bytes)));
}

}  // namespace lamina::text
