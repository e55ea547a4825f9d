#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace lamina::serve {

/// Tags around each argument of a call, as models write them; what space stands around them may differ.
struct ArgumentTags {
  std::string_view name_begin;  ///< the tool's name stands between these
  std::string_view name_end;
  std::string_view key_begin;  ///< an argument's name
  std::string_view key_end;
  std::string_view value_begin;  ///< its value: a text as it is, anything else as JSON
  std::string_view value_end;
  std::string_view close;  ///< of the call
};

/// How a family of models writes calls of tools, as its chat template shows it.
struct ToolForm {
  std::string_view name;
  std::string_view marks[2];       ///< texts of the templates that teach it
  std::string_view block_begin{};  ///< around all calls of an answer
  std::string_view block_end{};
  std::string_view begin{};  ///< around each call
  std::string_view end{};
  std::string_view between{};          ///< written between calls
  std::string_view middle{};           ///< NAME middle ARGUMENTS; empty: an object with both
  std::string_view name_key = "name";  ///< of that object
  std::string_view arguments_key = "arguments";
  const ArgumentTags* tags = nullptr;  ///< arguments are no JSON
  bool list = false;                   ///< the calls are a JSON list
  bool bare = false;                   ///< an answer that begins with { is a call, too
  bool channels = false;               ///< thoughts, calls and what is said are messages of channels
};

/// Tags around what a model thinks.
struct ThinkForm {
  std::string_view open;
  std::string_view close;
};

/// What an answer of a model is made of.
struct AnswerForm {
  const ToolForm* tools = nullptr;    ///< never null once found
  const ThinkForm* thinks = nullptr;  ///< null: it does not think aloud
  bool renders_tools = false;         ///< the template shows tools and calls itself
  std::vector<int32_t> shown{};       ///< control tokens that the tags consist of
};

/// The marks of a form with channels.
namespace channel_marks {
inline constexpr std::string_view kStart = "<|start|>";
inline constexpr std::string_view kChannel = "<|channel|>";
inline constexpr std::string_view kConstrain = "<|constrain|>";
inline constexpr std::string_view kMessage = "<|message|>";
inline constexpr std::string_view kEnd = "<|end|>";
inline constexpr std::string_view kReturn = "<|return|>";
inline constexpr std::string_view kCall = "<|call|>";
}  // namespace channel_marks

std::span<const ToolForm> tool_forms();

/// The form that a chat template teaches.
AnswerForm find_answer_form(std::string_view chat_template, const text::Tokenizer& tokenizer);

}  // namespace lamina::serve
