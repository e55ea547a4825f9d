#include "models/expression.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <vector>

namespace lamina::models {

namespace {

using core::ErrorCode;
using core::fail;
using core::Result;
using nlohmann::json;

constexpr int kMaxDepth = 64;

bool truth(const json& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number()) return value.get<double>() != 0.0;
  return !value.is_null();
}

/// Whether the list holds the value; false for anything but a list.
bool contains(const json& list, const json& value) {
  return list.is_array() && std::ranges::find(list, value) != list.end();
}

using BinaryFunction = double (*)(double, double);
struct Operator {
  std::string_view text;
  int strength;
  BinaryFunction apply;  // null: handled by its text (comparison of any two values, logic)
};

constexpr std::array kOperators{
    Operator{"??", 1, nullptr},
    Operator{"||", 2, nullptr},
    Operator{"&&", 3, nullptr},
    Operator{"==", 4, nullptr},
    Operator{"!=", 4, nullptr},
    Operator{"<=", 5, [](double a, double b) { return a <= b ? 1.0 : 0.0; }},
    Operator{">=", 5, [](double a, double b) { return a >= b ? 1.0 : 0.0; }},
    Operator{"<", 5, [](double a, double b) { return a < b ? 1.0 : 0.0; }},
    Operator{">", 5, [](double a, double b) { return a > b ? 1.0 : 0.0; }},
    Operator{"+", 6, [](double a, double b) { return a + b; }},
    Operator{"-", 6, [](double a, double b) { return a - b; }},
    Operator{"*", 7, [](double a, double b) { return a * b; }},
    Operator{"/", 7, [](double a, double b) { return a / b; }},
    Operator{"%", 7, [](double a, double b) { return std::fmod(a, b); }},
};

/// The largest number of a list; what is no list is itself.
json largest(const json& list) {
  if (!list.is_array()) return list;
  json most;
  for (const json& item : list) {
    if (item.is_number() && (most.is_null() || item.get<double>() > most.get<double>())) most = item.get<double>();
  }
  return most;
}

struct Function {
  std::string_view name;
  size_t arguments;
  double (*apply)(const std::vector<double>&);
};

constexpr std::array kFunctions{
    Function{"sqrt", 1, [](const std::vector<double>& a) { return std::sqrt(a[0]); }},
    Function{"log", 1, [](const std::vector<double>& a) { return std::log(a[0]); }},
    Function{"floor", 1, [](const std::vector<double>& a) { return std::floor(a[0]); }},
    Function{"min", 2, [](const std::vector<double>& a) { return std::min(a[0], a[1]); }},
    Function{"max", 2, [](const std::vector<double>& a) { return std::max(a[0], a[1]); }},
};

/// Precedence climbing over the text; evaluates while it reads. Names are looked up only in branches that are taken.
class Evaluator {
 public:
  Evaluator(std::string_view text, const NameLookup& lookup) : text_(text), lookup_(lookup) {}

  Result<json> run() {
    LAMINA_ASSIGN(json value, conditional(true, 0));
    skip_space();
    if (at_ != text_.size()) return error("the expression should end here");
    return value;
  }

 private:
  std::unexpected<core::Error> error(std::string_view what) const {
    return fail(ErrorCode::kInvalid, fmt::format("expression \"{}\", character {}", text_, at_ + 1), "{}", what);
  }

  void skip_space() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
  }

  bool take(std::string_view token) {
    skip_space();
    if (!text_.substr(at_).starts_with(token)) return false;
    at_ += token.size();
    return true;
  }

  Result<json> conditional(bool live, int depth) {
    if (depth > kMaxDepth) return error("nested too deep");
    LAMINA_ASSIGN(json value, binary(1, live, depth + 1));
    skip_space();
    if (text_.substr(at_).starts_with("??") || !take("?")) return value;
    const bool chosen = truth(value);
    LAMINA_ASSIGN(json first, conditional(live && chosen, depth + 1));
    if (!take(":")) return error("':' expected");
    LAMINA_ASSIGN(json second, conditional(live && !chosen, depth + 1));
    return chosen ? first : second;
  }

  const Operator* next_operator(int strength) {
    skip_space();
    for (const Operator& op : kOperators) {
      if (text_.substr(at_).starts_with(op.text)) return op.strength >= strength ? &op : nullptr;
    }
    return nullptr;
  }

  Result<json> binary(int strength, bool live, int depth) {
    if (depth > kMaxDepth) return error("nested too deep");
    LAMINA_ASSIGN(json left, unary(live, depth + 1));
    while (const Operator* op = next_operator(strength)) {
      at_ += op->text.size();
      const bool needed = op->text == "??"   ? left.is_null()
                          : op->text == "||" ? !truth(left)
                          : op->text == "&&" ? truth(left)
                                             : true;
      LAMINA_ASSIGN(json right, binary(op->strength + 1, live && needed, depth + 1));
      if (!live) continue;
      LAMINA_ASSIGN(left, apply(*op, left, right, needed));
    }
    return left;
  }

  Result<json> apply(const Operator& op, const json& left, const json& right, bool needed) const {
    if (op.text == "??") return needed ? right : left;
    if (op.text == "||") return json(truth(left) || truth(right));
    if (op.text == "&&") return json(truth(left) && truth(right));
    if (op.text == "==") return json(left == right);
    if (op.text == "!=") return json(left != right);
    if (!left.is_number() || !right.is_number()) {
      return error(fmt::format("'{}' needs two numbers, not {} and {}", op.text, left.dump(), right.dump()));
    }
    const double value = op.apply(left.get<double>(), right.get<double>());
    if (!std::isfinite(value))
      return error(fmt::format("{} {} {} is not a number", left.dump(), op.text, right.dump()));
    if (op.strength == 5) return json(value != 0.0);
    return json(value);
  }

  Result<json> unary(bool live, int depth) {
    if (depth > kMaxDepth) return error("nested too deep");
    skip_space();
    if (!text_.substr(at_).starts_with("!=") && take("!")) {
      LAMINA_ASSIGN(const json value, unary(live, depth + 1));
      return json(!truth(value));
    }
    if (take("-")) {
      LAMINA_ASSIGN(const json value, unary(live, depth + 1));
      if (live && !value.is_number()) return error("'-' needs a number");
      return live ? json(-value.get<double>()) : json();
    }
    return primary(live, depth + 1);
  }

  Result<json> primary(bool live, int depth) {
    if (take("(")) {
      LAMINA_ASSIGN(json value, conditional(live, depth + 1));
      if (!take(")")) return error("')' expected");
      return value;
    }
    if (at_ == text_.size()) return error("a value expected");
    const char first = text_[at_];
    if (first == '\'') return quoted();
    if (std::isdigit(static_cast<unsigned char>(first)) != 0 || first == '.') return number();
    if (std::isalpha(static_cast<unsigned char>(first)) != 0 || first == '_') return name(live, depth);
    return error(fmt::format("a value expected, not '{}'", first));
  }

  Result<json> quoted() {
    const size_t end = text_.find('\'', at_ + 1);
    if (end == std::string_view::npos) return error("the string has no end");
    const std::string value(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return json(value);
  }

  Result<json> number() {
    double value = 0;
    const auto [end, code] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
    if (code != std::errc()) return error("a number expected");
    at_ = static_cast<size_t>(end - text_.data());
    return json(value);
  }

  Result<json> name(bool live, int depth) {
    const size_t begin = at_;
    while (at_ < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[at_])) != 0 || text_[at_] == '_'))
      ++at_;
    const std::string word(text_.substr(begin, at_ - begin));
    if (word == "true") return json(true);
    if (word == "false") return json(false);
    if (word == "null") return json();
    if (take("(")) return call(word, live, depth + 1);
    if (!live) return json();
    LAMINA_ASSIGN(json value, lookup_(word));
    return value.is_number() ? json(value.get<double>()) : value;
  }

  Result<json> call(const std::string& word, bool live, int depth) {
    std::vector<json> values;
    while (!take(")")) {
      if (!values.empty() && !take(",")) return error("',' or ')' expected");
      LAMINA_ASSIGN(json value, conditional(live, depth + 1));
      values.push_back(std::move(value));
    }
    if (word == "contains" && values.size() == 2) return live ? json(contains(values[0], values[1])) : json();
    if (word == "largest" && values.size() == 1) return live ? largest(values[0]) : json();
    std::vector<double> arguments;
    for (const json& value : values) {
      if (live && !value.is_number()) return error(fmt::format("{}() needs numbers, not {}", word, value.dump()));
      arguments.push_back(live ? value.get<double>() : 0.0);
    }
    const auto found = std::ranges::find(kFunctions, word, &Function::name);
    if (found == kFunctions.end() || found->arguments != arguments.size()) {
      return error(fmt::format("no function {} of {} arguments", word, arguments.size()));
    }
    if (!live) return json();
    const double value = found->apply(arguments);
    if (!std::isfinite(value)) return error(fmt::format("{} of {} is not a number", word, fmt::join(arguments, ", ")));
    return json(value);
  }

  std::string_view text_;
  const NameLookup& lookup_;
  size_t at_ = 0;
};

}  // namespace

Result<json> evaluate(std::string_view expression, const NameLookup& lookup) {
  return Evaluator(expression, lookup).run();
}

}  // namespace lamina::models
