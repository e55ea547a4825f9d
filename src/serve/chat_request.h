#pragma once

#include "serve/answer_parser.h"
#include "serve/conversation.h"
#include "serve/grammars.h"
#include "serve/sequence.h"

namespace lamina::serve {

/// A conversation that is to be answered, ready to be written and read: what all routes of chats have in common.
struct ChatRequest {
  std::vector<int32_t> prompt;
  Conversation conversation;
  ParseOptions parse{};  ///< how answers are to be told apart, by AnswerParser(*conversation.form, parse)
  std::shared_ptr<const text::TokenGrammar> grammar{};  ///< that answers keep to; null: none

  /// What the request says about how the answer is written. The job's prompt is left as it is.
  void apply(GenerationJob& job) const;
};

/// From the fields of render_conversation(), response_format, structured_outputs and separate_reasoning of a checked
/// body. Errors as there; a schema that cannot be kept to is a 400 with its place.
Answer<ChatRequest> read_chat(const ServedModel& model, const Json& body);

/// What an answer is made of.
struct ParsedAnswer {
  struct Call {
    std::string name;
    std::string arguments;  ///< JSON
  };
  std::string reasoning;
  std::string content;
  std::vector<Call> calls;

  void add(const std::vector<AnswerPiece>& pieces);
};
ParsedAnswer parse_answer(const ChatRequest& request, std::string_view text);

}  // namespace lamina::serve
