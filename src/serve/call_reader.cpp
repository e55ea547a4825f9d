#include "serve/call_reader.h"

#include <utility>

#include "serve/reply.h"
#include "serve/tag_text.h"

namespace lamina::serve {

namespace {

constexpr size_t kLongestName = 256;

bool is_space(char c) {
  return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

std::string stripped(std::string_view text) {
  return std::string(core_of(text));
}

/// A call as an object with a name and arguments, or a name and the arguments.
class JsonCallReader : public CallReader {
 public:
  explicit JsonCallReader(const ToolForm& form) : form_(form) {}

  State take(char c) override;

 private:
  enum class Step { kName, kOpen, kKey, kInKey, kColon, kValue, kNext, kArguments };

  State take_of_object(char c);
  State take_of_value(char c);
  void end_value();

  const ToolForm& form_;
  Step step_ = Step::kOpen;
  bool begun_ = false;
  bool has_arguments_ = false;
  std::string key_;
  std::string value_;  ///< of the name, or of arguments that are written as a text
  bool escaped_ = false;
  ValueEnd end_;
};

/// A call whose arguments stand between tags: each becomes a field once it has ended.
class TaggedCallReader : public CallReader {
 public:
  TaggedCallReader(const ArgumentTags& tags, std::span<const Tool> tools) : tags_(tags), tools_(tools) {}

  State take(char c) override;

 private:
  enum class Step { kNameTag, kName, kNext, kKey, kValueTag, kValue };

  /// Whether the tag has come whole, nothing but space before it; kBroken: something else has.
  State take_tag(std::string_view tag, char c);
  State take_name(char c);
  State take_next(char c);
  void end_value();
  bool is_text(const std::string& key) const;

  const ArgumentTags& tags_;
  std::span<const Tool> tools_;
  Step step_ = Step::kNameTag;
  std::string buffer_;
  std::string key_;
  bool has_arguments_ = false;
};

}  // namespace

CallReader::State TaggedCallReader::take_tag(std::string_view tag, char c) {
  if (buffer_.empty() && is_space(c)) return State::kMore;
  buffer_.push_back(c);
  if (buffer_ == tag) {
    buffer_.clear();
    return State::kDone;
  }
  return tag.starts_with(buffer_) ? State::kMore : State::kBroken;
}

/// The name ends with its tag, or, where that is a line's end, with the next tag.
CallReader::State TaggedCallReader::take_name(char c) {
  const std::string_view end = core_of(tags_.name_end);
  const bool next_tag = end.empty() && c == '<';
  if (!next_tag) buffer_.push_back(c);
  const bool line = end.empty() && c == '\n' && !stripped(buffer_).empty();
  if (!next_tag && !line && (end.empty() || !buffer_.ends_with(end)))
    return buffer_.size() > kLongestName ? State::kBroken : State::kMore;
  name_ = stripped(std::string_view(buffer_).substr(0, buffer_.size() - end.size()));
  named_ = !name_.empty();
  buffer_ = next_tag ? "<" : "";
  step_ = Step::kNext;
  return named_ ? State::kMore : State::kBroken;
}

/// Another argument, or the call's end.
CallReader::State TaggedCallReader::take_next(char c) {
  if (buffer_.empty() && is_space(c)) return State::kMore;
  buffer_.push_back(c);
  const std::string_view key = core_of(tags_.key_begin);
  const std::string_view close = core_of(tags_.close);
  if (buffer_ == key) {
    buffer_.clear();
    step_ = Step::kKey;
    return State::kMore;
  }
  if (buffer_ != close) return key.starts_with(buffer_) || close.starts_with(buffer_) ? State::kMore : State::kBroken;
  arguments_ += has_arguments_ ? "}" : "{}";
  return State::kDone;
}

CallReader::State TaggedCallReader::take(char c) {
  if (step_ == Step::kNameTag && core_of(tags_.name_begin).empty()) step_ = Step::kName;
  switch (step_) {
    case Step::kNameTag: {
      const State state = take_tag(core_of(tags_.name_begin), c);
      if (state == State::kDone) step_ = Step::kName;
      return state == State::kBroken ? state : State::kMore;
    }
    case Step::kName:
      return take_name(c);
    case Step::kNext:
      return take_next(c);
    case Step::kKey: {
      const std::string_view end = core_of(tags_.key_end);
      buffer_.push_back(c);
      if (!buffer_.ends_with(end)) return buffer_.size() > kLongestName ? State::kBroken : State::kMore;
      key_ = stripped(std::string_view(buffer_).substr(0, buffer_.size() - end.size()));
      buffer_.clear();
      step_ = core_of(tags_.value_begin).empty() ? Step::kValue : Step::kValueTag;
      return State::kMore;
    }
    case Step::kValueTag: {
      const State state = take_tag(core_of(tags_.value_begin), c);
      if (state == State::kDone) step_ = Step::kValue;
      return state == State::kBroken ? state : State::kMore;
    }
    case Step::kValue:
      buffer_.push_back(c);
      if (buffer_.ends_with(core_of(tags_.value_end))) end_value();
      return State::kMore;
  }
  return State::kBroken;
}

/// Whether the tool takes a text there, which is then not read as JSON.
bool TaggedCallReader::is_text(const std::string& key) const {
  for (const Tool& tool : tools_) {
    if (tool.name != name_) continue;
    const auto properties = tool.parameters.find("properties");
    if (properties == tool.parameters.end() || !properties->is_object()) return false;
    const auto schema = properties->find(key);
    return schema != properties->end() && schema->is_object() && schema->value("type", Json()) == "string";
  }
  return false;
}

void TaggedCallReader::end_value() {
  std::string_view text = buffer_;
  text.remove_suffix(core_of(tags_.value_end).size());
  // A line's end behind the opening tag, and before the closing one, belongs to the tags.
  if (core_of(tags_.value_begin).empty() && text.starts_with('\n')) text.remove_prefix(1);
  if (tags_.value_end.starts_with('\n') && text.ends_with('\n')) text.remove_suffix(1);
  Json value = is_text(key_) ? Json() : Json::parse(text, nullptr, false);
  if (is_text(key_) || value.is_discarded()) value = std::string(text);
  arguments_ += fmt::format("{}{}: {}", has_arguments_ ? ", " : "{", to_text(Json(key_)), to_text(value));
  has_arguments_ = true;
  buffer_.clear();
  step_ = Step::kNext;
}

std::unique_ptr<CallReader> make_call_reader(const ToolForm& form, std::span<const Tool> tools) {
  if (form.tags != nullptr) return std::make_unique<TaggedCallReader>(*form.tags, tools);
  return std::make_unique<JsonCallReader>(form);
}

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

CallReader::State JsonCallReader::take(char c) {
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

CallReader::State JsonCallReader::take_of_object(char c) {
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

CallReader::State JsonCallReader::take_of_value(char c) {
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

void JsonCallReader::end_value() {
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
