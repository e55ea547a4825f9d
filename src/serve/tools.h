#pragma once

#include <string>
#include <vector>

#include "serve/answer_form.h"
#include "serve/reply.h"

namespace lamina::serve {

/// A tool that a model may call.
struct Tool {
  std::string name;
  Json parameters;      ///< a JSON schema
  bool strict = false;  ///< calls keep to it even where the model is free to call
  std::string place;    ///< of the schema, in the request
};

enum class ToolChoice { kNone, kAuto, kRequired, kNamed };

/// What a request says of tools.
struct ToolUse {
  std::vector<Tool> tools{};
  ToolChoice choice = ToolChoice::kNone;
  std::string named{};   ///< the one that must be called
  bool parallel = true;  ///< several calls in one answer
  Json shown{};          ///< for the chat template: a list of functions; null: none

  bool active() const { return choice != ToolChoice::kNone; }
  /// A call is all that an answer may be.
  bool forced() const { return choice == ToolChoice::kRequired || choice == ToolChoice::kNamed; }
};

/// From the fields tools, tool_choice and parallel_tool_calls of a checked body, in OpenAI's form.
Answer<ToolUse> read_tools(const Json& body);

/// The messages as a template wants them: calls with their arguments as objects; where the template shows no tools, a
/// system message that describes them, and calls and results as texts. 400: a message that is none.
Answer<Json> messages_with_tools(Json messages, const ToolUse& use, const AnswerForm& form);

/// The same with the arguments of calls as texts, for templates that want them so.
Json with_argument_texts(Json messages);

/// An id for a call, of nine letters and digits as some templates demand.
std::string call_id(std::string_view request, int part, int call);

}  // namespace lamina::serve
