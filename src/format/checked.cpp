#include "format/checked.h"

namespace lamina::format {

namespace {

/// Length of the well-formed UTF-8 sequence at the start of `text`, or 0.
size_t sequence_length(std::string_view text) {
  const auto at = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const auto continues = [&](size_t i) { return (at(i) & 0xc0u) == 0x80u; };
  const unsigned lead = at(0);
  if (text.empty()) return 0;
  if (lead < 0x80u) return 1;
  if (lead >= 0xc2u && lead <= 0xdfu) return continues(1) ? 2 : 0;
  if (lead >= 0xe0u && lead <= 0xefu) {
    if (!continues(1) || !continues(2)) return 0;
    const bool overlong = lead == 0xe0u && at(1) < 0xa0u;
    const bool surrogate = lead == 0xedu && at(1) > 0x9fu;
    return overlong || surrogate ? 0 : 3;
  }
  if (lead >= 0xf0u && lead <= 0xf4u) {
    if (!continues(1) || !continues(2) || !continues(3)) return 0;
    const bool overlong = lead == 0xf0u && at(1) < 0x90u;
    const bool beyond = lead == 0xf4u && at(1) > 0x8fu;
    return overlong || beyond ? 0 : 4;
  }
  return 0;
}

bool is_control(char c) {
  return static_cast<unsigned char>(c) < 0x20u || c == 0x7f;
}

}  // namespace

bool is_clean_utf8(std::string_view text, bool allow_control) {
  while (!text.empty()) {
    const size_t length = sequence_length(text);
    if (length == 0 || (!allow_control && is_control(text[0]))) return false;
    text.remove_prefix(length);
  }
  return true;
}

std::string repaired_utf8(std::string_view text) {
  std::string repaired;
  repaired.reserve(text.size());
  while (!text.empty()) {
    const size_t length = sequence_length(text);
    repaired += length == 0 ? std::string_view("\xef\xbf\xbd") : text.substr(0, length);
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return repaired;
}

std::string excerpt(std::string_view text, size_t limit) {
  std::string shown;
  while (!text.empty()) {
    const size_t length = sequence_length(text);
    const size_t step = length == 0 ? 1 : length;
    if (shown.size() + step > limit) return shown + "...";
    shown += length == 0 || is_control(text[0]) ? std::string_view("?") : text.substr(0, length);
    text.remove_prefix(step);
  }
  return shown;
}

}  // namespace lamina::format
