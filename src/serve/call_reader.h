#pragma once

#include <string>
#include <string_view>

#include "serve/answer_form.h"

namespace lamina::serve {

/// Sees where a JSON value ends, character by character.
class ValueEnd {
 public:
  /// Takes the next character; true once the value has ended before it (a number, a word) or with it.
  bool take(char c);
  /// Whether the value ended with the last character taken.
  bool with_last() const { return with_last_; }
  bool begun() const { return begun_; }

 private:
  int depth_ = 0;
  bool begun_ = false;
  bool in_text_ = false;
  bool escaped_ = false;
  bool with_last_ = false;
};

/// Reads one call of a tool while it is written: an object with a name and arguments, or a name and the arguments.
class CallReader {
 public:
  enum class State { kMore, kDone, kBroken };

  explicit CallReader(const ToolForm& form) : form_(form) {}

  State take(char c);
  bool named() const { return named_; }
  const std::string& name() const { return name_; }
  /// What has come of the arguments, as JSON, since the last call; nothing before the name is known.
  std::string take_arguments();

 private:
  enum class Step { kName, kOpen, kKey, kInKey, kColon, kValue, kNext, kArguments };

  State take_of_object(char c);
  State take_of_value(char c);
  void end_value();

  const ToolForm& form_;
  Step step_ = Step::kOpen;
  bool begun_ = false;
  bool named_ = false;
  bool has_arguments_ = false;
  std::string name_;
  std::string arguments_;  ///< not yet taken
  std::string key_;
  std::string value_;  ///< of the name, or of arguments that are written as a text
  bool escaped_ = false;
  ValueEnd end_;
};

}  // namespace lamina::serve
