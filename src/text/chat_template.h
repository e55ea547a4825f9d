#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "core/result.h"
#include "text/jinja_limits.h"

namespace lamina::text {

/// What a chat template is rendered with.
struct ChatTemplateInput {
  nlohmann::ordered_json messages;       ///< list of {role, content, ...}
  nlohmann::ordered_json tools;          ///< list of function descriptions, or null
  bool add_generation_prompt = false;    ///< end with the header of the assistant's turn
  std::string bos_token, eos_token;      ///< texts of the tokens that open and close a sequence
  nlohmann::ordered_json extra;          ///< object of further arguments, e.g. enable_thinking; may be null
  std::optional<int64_t> now_unix = {};  ///< what strftime_now() shows, in local time; absent: the clock
  /// The last message is one that the model goes on writing: the text ends where this field of it ("content",
  /// "reasoning_content") ends. Empty: the conversation is rendered to its end.
  std::string continue_field = {};
};

/// A compiled chat template: Jinja2 as the transformers library configures it (sandboxed and immutable, trim_blocks,
/// lstrip_blocks, loop controls, generation tag, json.dumps as tojson). Safe to share between threads.
class ChatTemplate {
 public:
  /// Parses `source`. Errors name the line.
  static core::Result<ChatTemplate> compile(std::string source);

  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  /// Renders a conversation. A template's raise_exception("...") is an error with that message; passing one of the
  /// limits is ErrorCode::kLimit. Nothing but the input is visible to the template; reasoning that a message has as
  /// `reasoning_content`, `thinking` or `reasoning` is there under the first two names, as templates read either.
  core::Result<std::string> render(const ChatTemplateInput& input, const TemplateLimits& limits = {}) const;

  const std::string& source() const { return source_; }

 private:
  struct Program;
  ChatTemplate(std::string source, std::unique_ptr<const Program> program);

  std::string source_;
  std::unique_ptr<const Program> program_;
};

/// A conversation as files and requests hold it.
struct ChatMessages {
  nlohmann::ordered_json messages;
  nlohmann::ordered_json tools;  ///< null if there are none
  std::optional<bool> add_generation_prompt;
  std::string continue_field;    ///< of `continue_final_message`: true is "content", a string names the field
  nlohmann::ordered_json extra;  ///< the remaining fields of the object, an object itself
};

/// Reads a conversation: a list of messages, or an object {messages, tools, add_generation_prompt,
/// continue_final_message, ...}. Each message
/// is an object with a string `role`; its `content` is a string, null, or a list of objects that have a `type`. Text
/// must be UTF-8, nested at most 64 deep, with at most 4096 fields in an object.
core::Result<ChatMessages> parse_messages(std::string_view json);

}  // namespace lamina::text
