#include "text/normalizers.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <utility>

#include "text/base64.h"
#include "text/byte_alphabet.h"
#include "text/components.h"
#include "text/pattern_json.h"
#include "text/unicode_tables.h"
#include "text/utf8.h"

namespace lamina::text {
namespace {

/// Replacements of a hostile file could grow the text without end.
constexpr size_t kMaxTextBytes = size_t{1} << 31;

/// Whether the reference's normalization, which is older than the library's, leaves `c` where and as it is.
bool is_inert(char32_t c) {
  if (c < tables::kInert[0].first) return false;
  const auto* span = std::ranges::lower_bound(tables::kInert, c, {}, &tables::UnicodeSpan::last);
  return span != std::end(tables::kInert) && span->first <= c;
}

/// NFC, NFD, NFKC or NFKD.
class UnicodeForm final : public Normalizer {
 public:
  explicit UnicodeForm(int options) : options_(options) {}

  core::Status apply(NormalText& text) const override {
    const std::string_view all = text.text;
    // Below U+00A0 every form is the text itself; composing alone changes nothing below U+0300.
    const char32_t same = (options_ & (UTF8PROC_COMPAT | UTF8PROC_DECOMPOSE)) != 0 ? 0xA0 : 0x300;
    size_t begin = 0;
    while (begin < all.size()) {
      size_t after = begin;
      if (next_character(all, after) >= same) break;
      begin = after;
    }
    if (begin == all.size()) return {};
    // A mark may compose with what precedes it.
    if (begin > 0) begin = previous_start(all, begin);
    std::string out(all.substr(0, begin));
    for (size_t at = begin; at < all.size();) {
      const size_t start = at;
      if (!is_inert(next_character(all, at))) continue;
      LAMINA_CHECK_OK(map(all.substr(begin, start - begin), out));
      out.append(all, start, at - start);
      begin = at;
    }
    LAMINA_CHECK_OK(map(all.substr(begin), out));
    text.text = std::move(out);
    return {};
  }

 private:
  core::Status map(std::string_view text, std::string& out) const {
    if (text.empty()) return {};
    utf8proc_uint8_t* mapped = nullptr;
    const auto length =
        utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                     &mapped, static_cast<utf8proc_option_t>(options_));
    if (length < 0) {
      return core::fail(core::ErrorCode::kLimit, "normalizer", "Unicode normalization failed: {}",
                        utf8proc_errmsg(length));
    }
    out.append(reinterpret_cast<const char*>(mapped), static_cast<size_t>(length));
    std::free(mapped);
    return {};
  }

  int options_;
};

/// Writes each character anew, or drops it.
class CharacterMap : public Normalizer {
 public:
  core::Status apply(NormalText& text) const override {
    std::string out;
    out.reserve(text.text.size());
    for (size_t position = 0; position < text.text.size();) {
      write(next_character(text.text, position), out);
      if (out.empty()) text.at_start = false;
    }
    text.text = std::move(out);
    return {};
  }

 protected:
  virtual void write(char32_t c, std::string& out) const = 0;
};

class Lowercase final : public CharacterMap {
 protected:
  void write(char32_t c, std::string& out) const override { append_lower(out, c); }
};

class StripAccents final : public CharacterMap {
 protected:
  void write(char32_t c, std::string& out) const override {
    if (!is_mark(c)) append_utf8(out, c);
  }
};

class StripNonspacing final : public CharacterMap {
 protected:
  void write(char32_t c, std::string& out) const override {
    if (!is_nonspacing_mark(c)) append_utf8(out, c);
  }
};

/// The clean-up of neural translation models: some controls vanish, odd spaces become plain ones.
class NmtMap final : public CharacterMap {
 protected:
  void write(char32_t c, std::string& out) const override {
    const bool dropped =
        (c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F;
    if (dropped) return;
    const bool space = c == 9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 || (c >= 0x200B && c <= 0x200F) ||
                       c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
    append_utf8(out, space ? U' ' : c);
  }
};

class BertClean final : public CharacterMap {
 protected:
  void write(char32_t c, std::string& out) const override {
    if (is_white_space(c)) {
      // Of the controls among the white space only these three count as text.
      const bool kept = c == '\t' || c == '\n' || c == '\r' || !is_other(c);
      if (kept) out.push_back(' ');
    } else if (c != 0xFFFD && !is_other(c)) {
      append_utf8(out, c);
    }
  }
};

class ChineseSpaces final : public CharacterMap {
 protected:
  void write(char32_t c, std::string& out) const override {
    const bool apart = is_chinese(c);
    if (apart) out.push_back(' ');
    append_utf8(out, c);
    if (apart) out.push_back(' ');
  }
};

class ByteCharacterMap final : public Normalizer {
 public:
  core::Status apply(NormalText& text) const override {
    text.text = to_byte_characters(text.text);
    return {};
  }
};

class Strip final : public Normalizer {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}

  core::Status apply(NormalText& text) const override {
    size_t begin = 0;
    size_t end = text.text.size();
    while (left_ && begin < end) {
      size_t at = begin;
      if (!is_white_space(next_character(text.text, at))) break;
      begin = at;
    }
    while (right_ && end > begin) {
      size_t at = previous_start(text.text, end);
      const size_t start = at;
      if (!is_white_space(next_character(text.text, at))) break;
      end = start;
    }
    if (begin > 0) text.at_start = false;
    text.text = text.text.substr(begin, end - begin);
    return {};
  }

 private:
  bool left_;
  bool right_;
};

class Prepend final : public Normalizer {
 public:
  explicit Prepend(std::string content) : content_(std::move(content)) {}

  core::Status apply(NormalText& text) const override {
    if (!text.text.empty()) text.text.insert(0, content_);
    return {};
  }

 private:
  std::string content_;
};

class Replace final : public Normalizer {
 public:
  Replace(Pattern pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}

  core::Status apply(NormalText& text) const override {
    std::vector<ByteRange> matches;
    LAMINA_CHECK_OK(pattern_.find_all(text.text, matches));
    if (matches.empty()) return {};
    if (matches.size() * content_.size() > kMaxTextBytes - text.text.size()) {
      return core::fail(core::ErrorCode::kLimit, "normalizer Replace", "the text would grow past {} bytes",
                        kMaxTextBytes);
    }
    std::string out;
    out.reserve(text.text.size() + matches.size() * content_.size());
    size_t done = 0;
    for (const ByteRange& match : matches) {
      out.append(text.text, done, match.begin - done);
      out.append(content_);
      done = match.end;
      if (out.empty()) text.at_start = false;
    }
    out.append(text.text, done);
    text.text = std::move(out);
    return {};
  }

 private:
  Pattern pattern_;
  std::string content_;
};

// Reading tokenizer.json -------------------------------------------------------------------------------------------

template <int options>
core::Status add_form(const json& /*spec*/, std::string_view /*place*/, Normalizers& steps) {
  steps.push_back(std::make_unique<UnicodeForm>(options));
  return {};
}

template <typename Step>
core::Status add_plain(const json& /*spec*/, std::string_view /*place*/, Normalizers& steps) {
  steps.push_back(std::make_unique<Step>());
  return {};
}

core::Status add_strip(const json& spec, std::string_view place, Normalizers& steps) {
  LAMINA_ASSIGN(const bool left, bool_field(spec, "strip_left", true, place));
  LAMINA_ASSIGN(const bool right, bool_field(spec, "strip_right", true, place));
  steps.push_back(std::make_unique<Strip>(left, right));
  return {};
}

core::Status add_prepend(const json& spec, std::string_view place, Normalizers& steps) {
  LAMINA_ASSIGN(std::string content, string_field(spec, "prepend", "", place));
  steps.push_back(std::make_unique<Prepend>(std::move(content)));
  return {};
}

core::Status add_replace(const json& spec, std::string_view place, Normalizers& steps) {
  LAMINA_ASSIGN(Pattern pattern, make_pattern(member(spec, "pattern"), place));
  LAMINA_ASSIGN(std::string content, string_field(spec, "content", "", place));
  steps.push_back(std::make_unique<Replace>(std::move(pattern), std::move(content)));
  return {};
}

core::Status add_bert(const json& spec, std::string_view place, Normalizers& steps) {
  LAMINA_ASSIGN(const bool clean, bool_field(spec, "clean_text", true, place));
  LAMINA_ASSIGN(const bool chinese, bool_field(spec, "handle_chinese_chars", true, place));
  LAMINA_ASSIGN(const bool lowercase, bool_field(spec, "lowercase", true, place));
  LAMINA_ASSIGN(const bool accents, bool_field(spec, "strip_accents", lowercase, place));
  if (clean) steps.push_back(std::make_unique<BertClean>());
  if (chinese) steps.push_back(std::make_unique<ChineseSpaces>());
  if (accents) {
    steps.push_back(std::make_unique<UnicodeForm>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE));
    steps.push_back(std::make_unique<StripNonspacing>());
  }
  if (lowercase) steps.push_back(std::make_unique<Lowercase>());
  return {};
}

core::Status add_charsmap(const json& spec, std::string_view place, Normalizers& steps) {
  LAMINA_ASSIGN(const std::string encoded, string_field(spec, "precompiled_charsmap", "", place));
  const auto blob = decode_base64(encoded);
  if (!blob) return core::fail(core::ErrorCode::kCorrupt, place, "\"precompiled_charsmap\" is not base64");
  if (blob->empty()) return {};
  LAMINA_ASSIGN(auto step, make_charsmap(*blob));
  steps.push_back(std::move(step));
  return {};
}

struct Maker {
  std::string_view type;
  core::Status (*add)(const json& spec, std::string_view place, Normalizers& steps);
};

constexpr Maker kMakers[] = {
    {"NFC", add_form<UTF8PROC_STABLE | UTF8PROC_COMPOSE>},
    {"NFD", add_form<UTF8PROC_STABLE | UTF8PROC_DECOMPOSE>},
    {"NFKC", add_form<UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT>},
    {"NFKD", add_form<UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT>},
    {"Lowercase", add_plain<Lowercase>},
    {"StripAccents", add_plain<StripAccents>},
    {"Nmt", add_plain<NmtMap>},
    {"ByteLevel", add_plain<ByteCharacterMap>},
    {"Strip", add_strip},
    {"Prepend", add_prepend},
    {"Replace", add_replace},
    {"BertNormalizer", add_bert},
    {"Precompiled", add_charsmap},
};

}  // namespace

core::Result<Normalizers> make_normalizers(const nlohmann::json& spec) {
  Normalizers steps;
  if (spec.is_null()) return steps;
  constexpr ComponentKind kKind{"normalizer", "normalizers"};
  const auto apply = [&](const Maker& maker, const json& part, const std::string& place) {
    return maker.add(part, place, steps);
  };
  LAMINA_CHECK_OK(visit_components<Maker>(spec, kKind, kMakers, apply));
  return steps;
}

core::Status normalize(const Normalizers& steps, NormalText& text) {
  for (const auto& step : steps) LAMINA_CHECK_OK(step->apply(text));
  return {};
}

}  // namespace lamina::text
