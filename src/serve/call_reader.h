#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "serve/answer_form.h"
#include "serve/tools.h"

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

/// Reads one call of a tool while it is written, character by character.
class CallReader {
 public:
  enum class State { kMore, kDone, kBroken };

  virtual ~CallReader() = default;
  virtual State take(char c) = 0;
  bool named() const { return named_; }
  const std::string& name() const { return name_; }
  /// What has come of the arguments, as JSON, since the last call; nothing before the name is known.
  std::string take_arguments();

 protected:
  bool named_ = false;
  std::string name_;
  std::string arguments_;  ///< not yet taken
};

/// A reader of the form's calls. `tools` say which arguments are texts where the form does not.
std::unique_ptr<CallReader> make_call_reader(const ToolForm& form, std::span<const Tool> tools);

}  // namespace lamina::serve
