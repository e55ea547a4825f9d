#include "text/jinja_print.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/jinja_sort.h"
#include "text/jinja_unicode.h"

namespace lamina::text::jinja {
namespace {

/// Namespaces may hold each other in chains and circles; lists and dictionaries cannot be this deep.
constexpr int kMaxReprDepth = 2 * kMaxValueDepth;

void write_repr(const Value& value, BoundedText& out, int level);

void write_items(const Value& value, BoundedText& out, int level) {
  bool first = true;
  for (const Value& item : value.items()) {
    if (!first) out.append(", ");
    first = false;
    write_repr(item, out, level + 1);
  }
}

void write_sequence(const Value& value, BoundedText& out, int level) {
  const Sequence& sequence = value.sequence();
  switch (sequence.flavour) {
    case Flavour::kTuple:
      out.append('(');
      write_items(value, out, level);
      out.append(sequence.items.size() == 1 ? ",)" : ")");
      return;
    case Flavour::kRange:
      out.append(fmt::format("range({}, {}", sequence.start, sequence.stop));
      if (sequence.step != 1) out.append(fmt::format(", {}", sequence.step));
      out.append(')');
      return;
    case Flavour::kIterator:
      out.append("<generator object>");
      return;
    case Flavour::kList:
      out.append('[');
      write_items(value, out, level);
      out.append(']');
      return;
    default:
      out.append(value.type_name() + "([");
      write_items(value, out, level);
      out.append("])");
  }
}

void write_dict(const Dict& dict, BoundedText& out, int level) {
  out.append('{');
  bool first = true;
  for (const auto& [key, item] : dict.entries) {
    if (!first) out.append(", ");
    first = false;
    write_repr(key, out, level + 1);
    out.append(": ");
    write_repr(item, out, level + 1);
  }
  out.append('}');
}

void write_repr(const Value& value, BoundedText& out, int level) {
  if (level > kMaxReprDepth) raise_limit("values nested deeper than {}", kMaxReprDepth);
  if (value.is_text()) {
    out.append(value.is_safe() ? "Markup(" + quote(value.view()) + ")" : quote(value.view()));
  } else if (value.is_undefined()) {
    out.append("Undefined");
  } else if (value.is_none()) {
    out.append("None");
  } else if (value.is_bool()) {
    out.append(value.boolean() ? "True" : "False");
  } else if (value.is_integer()) {
    out.append(std::to_string(value.integer()));
  } else if (value.is_real()) {
    out.append(print_real(value.real()));
  } else if (value.is_object()) {
    const Dict* shown = value.object().shown();
    if (shown == nullptr) return out.append(value.object().describe());
    out.append("<Namespace ");
    write_dict(*shown, out, level);
    out.append('>');
  } else if (value.is_sequence()) {
    write_sequence(value, out, level);
  } else {
    write_dict(value.dict(), out, level);
  }
}

class JsonWriter {
 public:
  JsonWriter(const JsonStyle& style, int64_t limit) : style_(style), out_(limit) {}

  void write(const Value& value, int level) {
    if (value.is_text()) {
      write_string(value.view());
    } else if (value.is_dict()) {
      write_dict(value.dict(), level);
    } else if (value.is_list_or_tuple()) {
      write_list(value.items(), level);
    } else {
      out_.append(scalar(value));
    }
  }

  std::string take() { return out_.take(); }

 private:
  static std::string scalar(const Value& value) {
    if (value.is_none()) return "null";
    if (value.is_bool()) return value.boolean() ? "true" : "false";
    if (value.is_integer()) return std::to_string(value.integer());
    if (!value.is_real()) raise("Object of type {} is not JSON serializable", value.type_name());
    if (std::isnan(value.real())) return "NaN";
    if (std::isinf(value.real())) return value.real() > 0 ? "Infinity" : "-Infinity";
    return print_real(value.real());
  }

  void write_escape(uint32_t unit) { out_.append(fmt::format("\\u{:04x}", unit)); }

  void write_point(int32_t point, std::string_view bytes) {
    switch (point) {
      case '"':
        return out_.append("\\\"");
      case '\\':
        return out_.append("\\\\");
      case '\n':
        return out_.append("\\n");
      case '\r':
        return out_.append("\\r");
      case '\t':
        return out_.append("\\t");
      case '\f':
        return out_.append("\\f");
      case '\b':
        return out_.append("\\b");
      default:
        break;
    }
    if (point < 0x20 || (style_.ensure_ascii && point >= 0x7F && point <= 0xFFFF)) {
      write_escape(static_cast<uint32_t>(point));
    } else if (style_.ensure_ascii && point > 0xFFFF) {
      write_escape(0xD800u + (static_cast<uint32_t>(point - 0x10000) >> 10));
      write_escape(0xDC00u + (static_cast<uint32_t>(point - 0x10000) & 0x3FFu));
    } else {
      out_.append(bytes);
    }
  }

  void write_string(std::string_view text) {
    out_.append('"');
    for (size_t at = 0; at < text.size();) {
      const size_t start = at;
      const int32_t point = next_point(text, at);
      write_point(point, text.substr(start, at - start));
    }
    out_.append('"');
  }

  void new_line(int level) {
    if (!style_.indent) return;
    out_.append('\n');
    out_.repeat(*style_.indent, level);
  }

  void write_list(const std::vector<Value>& items, int level) {
    if (items.empty()) return out_.append("[]");
    out_.append('[');
    for (size_t i = 0; i < items.size(); ++i) {
      if (i != 0) out_.append(style_.item_separator);
      new_line(level + 1);
      write(items[i], level + 1);
    }
    new_line(level);
    out_.append(']');
  }

  void write_key(const Value& key) {
    if (key.is_text()) return write_string(key.view());
    if (!key.is_number() && !key.is_none()) {
      raise("keys must be str, int, float, bool or None, not {}", key.type_name());
    }
    write_string(scalar(key));
  }

  void write_dict(const Dict& dict, int level) {
    if (dict.entries.empty()) return out_.append("{}");
    std::vector<const std::pair<Value, Value>*> order;
    order.reserve(dict.entries.size());
    for (const auto& entry : dict.entries) order.push_back(&entry);
    if (style_.sort_keys) {
      merge_sort(order, [](auto* a, auto* b) { return less(a->first, b->first); });
    }
    out_.append('{');
    for (size_t i = 0; i < order.size(); ++i) {
      if (i != 0) out_.append(style_.item_separator);
      new_line(level + 1);
      write_key(order[i]->first);
      out_.append(style_.key_separator);
      write(order[i]->second, level + 1);
    }
    new_line(level);
    out_.append('}');
  }

  const JsonStyle& style_;
  BoundedText out_;
};

}  // namespace

void BoundedText::repeat(std::string_view piece, int64_t count) {
  if (count <= 0 || piece.empty()) return;
  if (static_cast<uint64_t>(count) > (limit_ - bytes_.size()) / piece.size()) too_long();
  bytes_.reserve(bytes_.size() + piece.size() * static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) bytes_.append(piece);
}

void BoundedText::too_long() const {
  raise_limit("a text longer than {} bytes", limit_);
}

std::string print_real(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::scientific).ptr;
  const std::string_view text(buffer, static_cast<size_t>(end - buffer));
  const size_t e = text.find('e');
  int exponent = 0;
  const char* digits_of_exponent = buffer + e + (text[e + 1] == '+' ? 2 : 1);
  std::from_chars(digits_of_exponent, end, exponent);
  const bool negative = text[0] == '-';
  std::string digits(1, text[negative ? 1 : 0]);
  if (const size_t dot = text.find('.'); dot != std::string_view::npos) digits += text.substr(dot + 1, e - dot - 1);
  std::string out = negative ? "-" : "";
  const int count = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    out += digits.substr(0, 1);
    if (count > 1) out += "." + digits.substr(1);
    return out + fmt::format("e{}{:02}", exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  if (exponent < 0) return out + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  if (count <= exponent + 1) return out + digits + std::string(static_cast<size_t>(exponent + 1 - count), '0') + ".0";
  return out + digits.substr(0, static_cast<size_t>(exponent) + 1) + "." +
         digits.substr(static_cast<size_t>(exponent) + 1);
}

std::string quote(std::string_view text) {
  const bool double_quotes = text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos;
  const char mark = double_quotes ? '"' : '\'';
  std::string out(1, mark);
  for (size_t at = 0; at < text.size();) {
    const size_t start = at;
    const int32_t point = next_point(text, at);
    if (point == mark || point == '\\') {
      out += '\\';
      out += static_cast<char>(point);
    } else if (point == '\n') {
      out += "\\n";
    } else if (point == '\r') {
      out += "\\r";
    } else if (point == '\t') {
      out += "\\t";
    } else if (is_printable(point)) {
      out += text.substr(start, at - start);
    } else if (point < 0x100) {
      out += fmt::format("\\x{:02x}", point);
    } else if (point < 0x10000) {
      out += fmt::format("\\u{:04x}", point);
    } else {
      out += fmt::format("\\U{:08x}", point);
    }
  }
  return out + mark;
}

std::string repr(const Value& value, int64_t limit) {
  BoundedText out(limit);
  write_repr(value, out, 0);
  return out.take();
}

std::string ascii_repr(const Value& value, int64_t limit) {
  const std::string text = repr(value, limit);
  BoundedText out(limit);
  for (size_t at = 0; at < text.size();) {
    const int32_t point = next_point(text, at);
    const auto bits = static_cast<uint32_t>(point);
    if (point < 0x80) {
      out.append(static_cast<char>(point));
    } else {
      out.append(point < 0x100     ? fmt::format("\\x{:02x}", bits)
                 : point < 0x10000 ? fmt::format("\\u{:04x}", bits)
                                   : fmt::format("\\U{:08x}", bits));
    }
  }
  return out.take();
}

std::string str(const Value& value, int64_t limit) {
  if (value.is_text()) return value.text().bytes;
  if (value.is_undefined()) return "";
  return repr(value, limit);
}

std::string to_json(const Value& value, const JsonStyle& style, int64_t limit) {
  JsonWriter writer(style, limit);
  writer.write(value, 0);
  return writer.take();
}

}  // namespace lamina::text::jinja
