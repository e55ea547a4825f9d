#include <array>
#include <charconv>
#include <cmath>
#include <optional>

#include "recipe/recipe.h"
#include "recipe/utf8.h"

namespace lamina::recipe {
namespace {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_word_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool is_word(char c) {
  return is_word_start(c) || is_digit(c);
}
bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/// The source and how far it has been read. peek() is '\0' at the end; a zero byte in the source is no valid character
/// anywhere, so the two need no telling apart except in messages.
class Cursor {
 public:
  explicit Cursor(std::string_view source) : source_(source) {}

  bool at_end() const { return offset_ == source_.size(); }
  char peek(size_t ahead = 0) const { return offset_ + ahead < source_.size() ? source_[offset_ + ahead] : '\0'; }
  Position position() const { return {character_}; }

  void skip() {
    ++offset_;
    // The bytes that continue a UTF-8 character are not counted.
    if (at_end() || (static_cast<unsigned char>(source_[offset_]) & 0xC0) != 0x80) ++character_;
  }
  bool take(char c) {
    if (at_end() || peek() != c) return false;
    skip();
    return true;
  }
  bool skip_spaces() {
    const size_t before = offset_;
    while (!at_end() && is_space(peek())) skip();
    return offset_ != before;
  }
  template <typename Predicate>
  std::string_view take_while(Predicate predicate) {
    const size_t begin = offset_;
    while (!at_end() && predicate(peek())) skip();
    return source_.substr(begin, offset_ - begin);
  }

  /// What stands here, for a message.
  std::string found() const {
    if (at_end()) return "the end";
    const auto byte = static_cast<unsigned char>(peek());
    if (byte < 0x20 || byte == 0x7F) return fmt::format("control character {:#04x}", byte);
    return fmt::format("'{}'", source_.substr(offset_, utf8_length(source_.substr(offset_))));
  }
  std::unexpected<core::Error> expected(std::string_view allowed) const {
    return fail(ErrorCode::kInvalid, error_place(position()), "found {}; {} expected", found(), allowed);
  }

 private:
  std::string_view source_;
  size_t offset_ = 0;
  size_t character_ = 1;
};

class Parser {
 public:
  explicit Parser(std::string_view source) : cursor_(source) {}
  Result<Recipe> recipe();

 private:
  Result<Clause> clause();
  Result<Where> where();
  Result<std::string> part();
  Result<std::vector<LayerRange>> layer_list();
  Result<LayerRange> layer_range();
  Result<int> layer_index();
  Result<Step> step(Place place, int depth);
  Result<Step> bare_route();
  Result<Value> span();
  Status arguments(Step& step, int depth);
  Result<Argument> argument(bool named_before, int depth);
  Result<Value> value(int depth);
  Result<Value> numeric_value();
  Result<Value> text_value();
  Status continue_layers(Value& value);

  Cursor cursor_;
};

Result<Recipe> Parser::recipe() {
  Recipe result;
  cursor_.skip_spaces();
  while (!cursor_.at_end()) {
    if (result.clauses.size() == kMaxClauses) {
      return fail(ErrorCode::kLimit, error_place(cursor_.position()), "more than {} clauses", kMaxClauses);
    }
    LAMINA_ASSIGN(Clause next, clause());
    result.clauses.push_back(std::move(next));
    if (!cursor_.skip_spaces() && !cursor_.at_end()) return cursor_.expected("'+', a space or the end");
  }
  return result;
}

Result<Clause> Parser::clause() {
  Clause result;
  LAMINA_ASSIGN(result.where, where());
  if (!cursor_.take(':')) {
    const bool selector = result.where.place == Place::kWeights;
    return cursor_.expected(selector && result.where.part.empty() ? "':', '.', ',' or '-'" : "':'");
  }
  do {
    if (result.steps.size() == kMaxSteps) {
      return fail(ErrorCode::kLimit, error_place(cursor_.position()), "more than {} techniques in one clause",
                  kMaxSteps);
    }
    LAMINA_ASSIGN(Step next, step(result.where.place, 1));
    result.steps.push_back(std::move(next));
  } while (cursor_.take('+'));
  return result;
}

std::optional<Place> place_of(std::string_view word) {
  for (int i = 1; i < kPlaces; ++i) {
    if (word == place_name(static_cast<Place>(i))) return static_cast<Place>(i);
  }
  return std::nullopt;
}

Result<Where> Parser::where() {
  static constexpr std::string_view kAllowed =
      "a layer selector (L*, L0-3, L20,22) or one of route, kv, prefill, decode, draft, head, embed, merge";
  Where result;
  result.position = cursor_.position();
  result.part_position = result.position;
  if (cursor_.peek() == 'L' && !is_word_start(cursor_.peek(1))) {
    cursor_.skip();
    if (cursor_.take('*')) {
      result.layers = {{0, LayerRange::kOpen, result.position}};
    } else {
      if (!is_digit(cursor_.peek())) return cursor_.expected("a layer's number or '*' after 'L'");
      LAMINA_ASSIGN(result.layers, layer_list());
    }
    if (cursor_.take('.')) {
      result.part_position = cursor_.position();
      LAMINA_ASSIGN(result.part, part());
    }
    return result;
  }
  if (!is_word_start(cursor_.peek())) return cursor_.expected(kAllowed);
  const std::string_view word = cursor_.take_while(is_word);
  const std::optional<Place> place = place_of(word);
  if (!place) {
    return fail(ErrorCode::kInvalid, error_place(result.position), "found '{}'; {} expected", word, kAllowed);
  }
  result.place = *place;
  return result;
}

Result<std::string> Parser::part() {
  std::string result;
  do {
    if (!is_word_start(cursor_.peek())) return cursor_.expected("attn, mlp, cross or a tensor's name after '.'");
    if (!result.empty()) result += '.';
    result += cursor_.take_while(is_word);
  } while (cursor_.take('.'));
  return result;
}

Result<std::vector<LayerRange>> Parser::layer_list() {
  std::vector<LayerRange> result;
  do {
    if (result.size() == kMaxArguments) {
      return fail(ErrorCode::kLimit, error_place(cursor_.position()), "more than {} items in a layer list",
                  kMaxArguments);
    }
    LAMINA_ASSIGN(const LayerRange next, layer_range());
    result.push_back(next);
  } while (cursor_.take(','));
  return result;
}

Result<int> Parser::layer_index() {
  const Position begin = cursor_.position();
  if (!is_digit(cursor_.peek())) return cursor_.expected("a layer's number");
  const std::string_view digits = cursor_.take_while(is_digit);
  int index = 0;
  const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), index);
  if (read.ec != std::errc() || index > kMaxLayerIndex) {
    return fail(ErrorCode::kLimit, error_place(begin), "layer {}; at most {} allowed", digits, kMaxLayerIndex);
  }
  return index;
}

Result<LayerRange> Parser::layer_range() {
  LayerRange result;
  result.position = cursor_.position();
  LAMINA_ASSIGN(result.first, layer_index());
  result.last = result.first;
  if (!cursor_.take('-')) return result;
  if (!is_digit(cursor_.peek())) {
    result.last = LayerRange::kOpen;
    return result;
  }
  LAMINA_ASSIGN(result.last, layer_index());
  if (result.last < result.first) {
    return fail(ErrorCode::kInvalid, error_place(result.position),
                "range {}-{} runs backwards; the smaller layer first expected", result.first, result.last);
  }
  return result;
}

Result<Step> Parser::step(Place place, int depth) {
  if (depth > kMaxDepth) {
    return fail(ErrorCode::kLimit, error_place(cursor_.position()), "calls nested more than {} deep", kMaxDepth);
  }
  const bool item = is_digit(cursor_.peek()) || cursor_.peek() == '(';
  if (place == Place::kRoute && depth == 1 && item) return bare_route();
  if (!is_word_start(cursor_.peek())) {
    const bool route = place == Place::kRoute && depth == 1;
    return cursor_.expected(route ? "a list of layers or a technique's name" : "a technique's name");
  }
  Step result;
  result.position = cursor_.position();
  result.technique = cursor_.take_while(is_word);
  if (cursor_.take('(')) LAMINA_CHECK_OK(arguments(result, depth));
  return result;
}

Value layers_value(std::vector<LayerRange> ranges) {
  Value value;
  if (ranges.size() == 1 && ranges[0].first == ranges[0].last) {
    value.integer = ranges[0].first;
    return value;
  }
  value.kind = Value::Kind::kLayers;
  value.layers = std::move(ranges);
  return value;
}

Result<Step> Parser::bare_route() {
  Step result;
  result.technique = "list";
  result.position = cursor_.position();
  do {
    const Position position = cursor_.position();
    if (result.arguments.size() == kMaxArguments) {
      return fail(ErrorCode::kLimit, error_place(position), "more than {} items in a layer list", kMaxArguments);
    }
    Value item;
    if (cursor_.peek() == '(') {
      LAMINA_ASSIGN(item, span());
    } else {
      LAMINA_ASSIGN(const LayerRange range, layer_range());
      item = layers_value({range});
    }
    result.arguments.push_back({.name = {}, .value = std::move(item), .position = position});
  } while (cursor_.take(','));
  return result;
}

/// "(6|7|8)": layers that read the same stream.
Result<Value> Parser::span() {
  Value result;
  result.kind = Value::Kind::kLayers;
  cursor_.skip();
  do {
    if (result.layers.size() == kMaxArguments) {
      return fail(ErrorCode::kLimit, error_place(cursor_.position()), "more than {} layers side by side",
                  kMaxArguments);
    }
    const Position position = cursor_.position();
    LAMINA_ASSIGN(const int layer, layer_index());
    result.layers.push_back({.first = layer, .last = layer, .position = position, .beside = !result.layers.empty()});
  } while (cursor_.take('|'));
  if (result.layers.size() == 1) return cursor_.expected("'|' and another layer");
  if (!cursor_.take(')')) return cursor_.expected("'|' or ')'");
  return result;
}

Status Parser::arguments(Step& step, int depth) {
  cursor_.skip_spaces();
  if (cursor_.take(')')) return {};
  bool named_before = false;
  do {
    cursor_.skip_spaces();
    if (step.arguments.size() == kMaxArguments) {
      return fail(ErrorCode::kLimit, error_place(cursor_.position()), "more than {} arguments", kMaxArguments);
    }
    LAMINA_ASSIGN(Argument next, argument(named_before, depth));
    named_before = !next.name.empty();
    step.arguments.push_back(std::move(next));
    cursor_.skip_spaces();
  } while (cursor_.take(','));
  if (!cursor_.take(')')) return cursor_.expected("',' or ')'");
  return {};
}

Result<Argument> Parser::argument(bool named_before, int depth) {
  Argument result;
  result.position = cursor_.position();
  Cursor ahead = cursor_;
  if (is_word_start(ahead.peek())) {
    const std::string_view name = ahead.take_while(is_word);
    ahead.skip_spaces();
    if (ahead.take('=')) {
      result.name = name;
      ahead.skip_spaces();
      cursor_ = ahead;
    }
  }
  if (named_before && result.name.empty()) return cursor_.expected("name=value after a named argument");
  LAMINA_ASSIGN(result.value, value(depth));
  if (!result.name.empty()) LAMINA_CHECK_OK(continue_layers(result.value));
  return result;
}

/// After `name=2`, items that follow (`,13`) belong to the same list: nothing positional may follow a name.
Status Parser::continue_layers(Value& value) {
  const bool index = value.kind == Value::Kind::kInteger && value.integer >= 0;
  if (!index && value.kind != Value::Kind::kLayers) return {};
  std::vector<LayerRange> items = value.layers;
  while (true) {
    Cursor ahead = cursor_;
    ahead.skip_spaces();
    if (!ahead.take(',')) break;
    ahead.skip_spaces();
    if (!is_digit(ahead.peek())) break;
    if (items.empty()) {
      if (value.integer > kMaxLayerIndex) {
        return fail(ErrorCode::kLimit, error_place(cursor_.position()), "layer {} before; at most {} allowed in a list",
                    value.integer, kMaxLayerIndex);
      }
      items.push_back({static_cast<int>(value.integer), static_cast<int>(value.integer), {}});
    }
    if (items.size() == kMaxArguments) {
      return fail(ErrorCode::kLimit, error_place(ahead.position()), "more than {} items in a layer list",
                  kMaxArguments);
    }
    cursor_ = ahead;
    LAMINA_ASSIGN(const LayerRange next, layer_range());
    items.push_back(next);
  }
  if (!items.empty()) value = layers_value(std::move(items));
  return {};
}

Result<Value> Parser::value(int depth) {
  const char c = cursor_.peek();
  if (is_digit(c) || c == '-') return numeric_value();
  if (c == '"') return text_value();
  if (!is_word_start(c)) return cursor_.expected("a number, a word, a \"text\", a list of layers or a technique");
  Cursor ahead = cursor_;
  const std::string_view word = ahead.take_while(is_word);
  Value result;
  if (ahead.peek() != '(') {
    result.kind = Value::Kind::kWord;
    result.text = word;
    cursor_ = ahead;
    return result;
  }
  result.kind = Value::Kind::kCall;
  LAMINA_ASSIGN(Step call, step(Place::kWeights, depth + 1));
  result.call.push_back(std::move(call));
  return result;
}

Result<Value> Parser::numeric_value() {
  const Position begin = cursor_.position();
  Cursor ahead = cursor_;
  std::string text;
  const auto digits = [&] {
    if (!is_digit(ahead.peek())) return false;
    text += ahead.take_while(is_digit);
    return true;
  };
  if (ahead.take('-')) text += '-';
  if (!digits()) return ahead.expected("a digit");
  if (text[0] != '-' && ahead.peek() == '-') {
    LAMINA_ASSIGN(const LayerRange range, layer_range());
    return layers_value({range});
  }
  bool integer = true;
  if (ahead.take('.')) {
    integer = false;
    text += '.';
    if (!digits()) return ahead.expected("a digit");
  }
  if (ahead.peek() == 'e' || ahead.peek() == 'E') {
    ahead.skip();
    integer = false;
    text += 'e';
    if (ahead.peek() == '+' || ahead.peek() == '-') {
      text += ahead.peek();
      ahead.skip();
    }
    if (!digits()) return ahead.expected("a digit");
  }
  Value result;
  std::from_chars_result read{};
  if (integer) {
    read = std::from_chars(text.data(), text.data() + text.size(), result.integer);
  } else {
    result.kind = Value::Kind::kNumber;
    read = std::from_chars(text.data(), text.data() + text.size(), result.number);
  }
  if (read.ec != std::errc()) {
    return fail(ErrorCode::kInvalid, error_place(begin), "number {} is out of range; {} expected", text,
                integer ? "a 64-bit integer" : "a double-precision number");
  }
  cursor_ = ahead;
  return result;
}

Result<Value> Parser::text_value() {
  Value result;
  result.kind = Value::Kind::kText;
  cursor_.skip();
  while (!cursor_.take('"')) {
    const auto byte = static_cast<unsigned char>(cursor_.peek());
    if (cursor_.at_end() || byte < 0x20 || byte == 0x7F) return cursor_.expected("text and a closing '\"'");
    if (cursor_.take('\\')) {
      static constexpr std::string_view kEscapes = "\"\\nt";
      static constexpr std::string_view kMeaning = "\"\\\n\t";
      const size_t escape = cursor_.at_end() ? std::string_view::npos : kEscapes.find(cursor_.peek());
      if (escape == std::string_view::npos) return cursor_.expected("one of \\\" \\\\ \\n \\t");
      result.text += kMeaning[escape];
    } else {
      result.text += cursor_.peek();
    }
    cursor_.skip();
  }
  return result;
}

}  // namespace

Result<Recipe> parse(std::string_view source) {
  if (source.size() > kMaxSourceBytes) {
    return fail(ErrorCode::kLimit, "recipe", "{} bytes; at most {} allowed", source.size(), kMaxSourceBytes);
  }
  if (const size_t valid = utf8_valid_prefix(source); valid != source.size()) {
    return fail(ErrorCode::kInvalid, "recipe", "byte {} is not UTF-8", valid + 1);
  }
  return Parser(source).recipe();
}

}  // namespace lamina::recipe
