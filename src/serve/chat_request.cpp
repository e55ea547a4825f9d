#include "serve/chat_request.h"

#include "serve/fields.h"

namespace lamina::serve {

Answer<ChatRequest> read_chat(const ServedModel& model, const Json& body) {
  ChatRequest request;
  LAMINA_ASSIGN(request.conversation, render_conversation(model, body));
  const Conversation& conversation = request.conversation;
  LAMINA_ASSIGN(request.prompt, encode_conversation(model, conversation.text));
  request.parse = {.reasoning = (conversation.may_think || conversation.form->tools->channels) &&
                                value_of(body, "separate_reasoning", true),
                   .begins_inside = conversation.begins_inside,
                   .tools = conversation.tools.active(),
                   .known = conversation.tools.tools};
  request.parse.continues = conversation.continues;
  GrammarRequest grammar{.tools = conversation.tools,
                         .form = conversation.form,
                         .may_think = conversation.may_think,
                         .begins_inside = conversation.begins_inside,
                         .continues = conversation.continues};
  LAMINA_ASSIGN(grammar.rule, read_rule(body));
  LAMINA_ASSIGN(request.grammar, model.grammars->find(grammar, model.tokenizer));
  return request;
}

void ChatRequest::apply(GenerationJob& job) const {
  job.grammar = grammar;
  job.continues_text = conversation.continues;
  if (parse.tools || parse.reasoning || conversation.form->tools->channels) job.shown = conversation.form->shown;
}

void ParsedAnswer::add(const std::vector<AnswerPiece>& pieces) {
  for (const AnswerPiece& piece : pieces) {
    switch (piece.kind) {
      case AnswerPiece::Kind::kReasoning:
        reasoning += piece.text;
        break;
      case AnswerPiece::Kind::kContent:
        content += piece.text;
        break;
      case AnswerPiece::Kind::kCallBegin:
        calls.push_back({.name = piece.text, .arguments = {}});
        break;
      case AnswerPiece::Kind::kCallArguments:
        calls.back().arguments += piece.text;
        break;
    }
  }
}

ParsedAnswer parse_answer(const ChatRequest& request, std::string_view text) {
  AnswerParser parser(*request.conversation.form, request.parse);
  ParsedAnswer answer;
  answer.add(parser.push(text));
  answer.add(parser.finish());
  return answer;
}

}  // namespace lamina::serve
