#include "serve/call_reader.h"

#include <utility>

#include "serve/reply.h"

namespace lamina::serve {

namespace {

constexpr size_t kLongestName = 256;

bool is_space(char c) {
  return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

std::string stripped(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return std::string(text);
}

}  // namespace

bool ValueEnd::take(char c) {
  with_last_ = false;
  if (in_text_) {
    if (escaped_) {
      escaped_ = false;
    } else if (c == '\\') {
      escaped_ = true;
    } else if (c == '"') {
      in_text_ = false;
      with_last_ = depth_ == 0;
    }
    return with_last_;
  }
  if (!begun_ && is_space(c)) return false;
  const bool first = !std::exchange(begun_, true);
  if (c == '"') {
    in_text_ = true;
  } else if (c == '{' || c == '[') {
    ++depth_;
  } else if ((c == '}' || c == ']') && depth_ > 0) {
    with_last_ = --depth_ == 0;
  } else if (depth_ == 0 && !first && (is_space(c) || c == ',' || c == '}' || c == ']')) {
    return true;
  }
  return with_last_;
}

std::string CallReader::take_arguments() {
  if (!named_) return {};
  return std::exchange(arguments_, {});
}

CallReader::State CallReader::take(char c) {
  if (!std::exchange(begun_, true) && !form_.middle.empty()) step_ = Step::kName;
  if (step_ == Step::kName) {
    name_.push_back(c);
    if (name_.size() > kLongestName) return State::kBroken;
    if (!name_.ends_with(form_.middle)) return State::kMore;
    name_ = stripped(std::string_view(name_).substr(0, name_.size() - form_.middle.size()));
    named_ = true;
    step_ = Step::kArguments;
    return name_.empty() ? State::kBroken : State::kMore;
  }
  if (step_ != Step::kArguments) return take_of_object(c);
  if (!end_.begun() && !is_space(c) && c != '{') return State::kBroken;
  const bool done = end_.take(c);
  if (end_.begun()) arguments_.push_back(c);
  return done ? State::kDone : State::kMore;
}

CallReader::State CallReader::take_of_object(char c) {
  if (step_ == Step::kValue) return take_of_value(c);
  if (step_ == Step::kInKey) {
    if (c == '"' && !escaped_) {
      step_ = Step::kColon;
    } else {
      escaped_ = c == '\\' && !escaped_;
      key_.push_back(c);
    }
    return key_.size() > kLongestName ? State::kBroken : State::kMore;
  }
  if (is_space(c)) return State::kMore;
  const bool next_key = (step_ == Step::kOpen && c == '{') || (step_ == Step::kNext && c == ',');
  if (next_key) {
    step_ = Step::kKey;
  } else if (step_ == Step::kKey && c == '"') {
    key_.clear();
    step_ = Step::kInKey;
  } else if (step_ == Step::kColon && c == ':') {
    step_ = Step::kValue;
    value_.clear();
    end_ = {};
  } else if (c == '}' && (step_ == Step::kNext || step_ == Step::kKey)) {
    if (!has_arguments_) arguments_ = "{}";
    return named_ ? State::kDone : State::kBroken;
  } else {
    return State::kBroken;
  }
  return State::kMore;
}

CallReader::State CallReader::take_of_value(char c) {
  const bool done = end_.take(c);
  if (!end_.begun()) return State::kMore;
  const bool own = !done || end_.with_last();
  has_arguments_ = has_arguments_ || key_ == form_.arguments_key;
  if (own && key_ == form_.arguments_key && (value_.empty() ? c != '"' : value_ == "{")) {
    // What is inside goes out at once; a text is held until it can be read as a whole.
    value_ = "{";
    arguments_.push_back(c);
  } else if (own) {
    value_.push_back(c);
  }
  if (!done) return State::kMore;
  end_value();
  step_ = Step::kNext;
  return own ? State::kMore : take_of_object(c);
}

void CallReader::end_value() {
  const bool text = value_.starts_with('"');
  const Json value = text ? Json::parse(value_, nullptr, false) : Json();
  if (key_ == form_.name_key && value.is_string()) {
    name_ = value.get<std::string>();
    named_ = !name_.empty();
  } else if (key_ == form_.arguments_key && value.is_string()) {
    arguments_ += value.get<std::string>();
  }
}

}  // namespace lamina::serve
