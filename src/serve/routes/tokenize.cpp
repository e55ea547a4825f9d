#include <array>

#include "serve/conversation.h"
#include "serve/prompts.h"
#include "serve/routes.h"

namespace lamina::serve {

namespace {

constexpr double kMostBytes = 16 << 20;
constexpr std::initializer_list<Task> kAny{Task::kGenerate, Task::kEmbed, Task::kRank};

constexpr std::array kTokenize{
    Field{"model", FieldType::kText, "whose tokenizer; needed when there are several models"},
    Field{"content", FieldType::kText, "the text", true, 0, kMostBytes},
    Field{"add_special", FieldType::kFlag, "with the tokens that the model wants around a text; false by default"},
    Field{"parse_special", FieldType::kFlag, "special tokens written in the text count as such; false by default"},
    Field{"with_pieces", FieldType::kFlag, "tell each token's text too"},
};
constexpr std::array kDetokenize{
    Field{"model", FieldType::kText, "whose tokenizer; needed when there are several models"},
    Field{"tokens", FieldType::kList, "the tokens", true, 0, 1 << 20},
    Field{"skip_special", FieldType::kFlag, "leave special tokens out; false by default"},
};
constexpr std::array kApplyTemplate{
    Field{"model", FieldType::kText, "whose template; needed when several could answer"},
    Field{"messages", FieldType::kList, "the conversation: objects with role and content", true, 1, 4096},
    Field{"add_generation_prompt", FieldType::kFlag, "begin the assistant's turn; true by default"},
    Field{"continue_final_message", FieldType::kFlag, "leave the last message open"},
    Field{"chat_template_kwargs", FieldType::kObject, "further arguments of the chat template"},
    Field{"tools", FieldType::kList, "tools that the model may call", false, 0, 128},
    Field{"tool_choice", FieldType::kAny, "none: the tools are left out"},
    Field{"parallel_tool_calls", FieldType::kFlag, "changes nothing here"},
};

}  // namespace

std::span<const Field> tokenize_fields() {
  return kTokenize;
}

std::span<const Field> detokenize_fields() {
  return kDetokenize;
}

std::span<const Field> apply_template_fields() {
  return kApplyTemplate;
}

Answer<Reply> answer_tokenize(Call& call) {
  LAMINA_ASSIGN(const size_t index, call.find_model(kAny));
  const ServedModel& model = call.model(index);
  LAMINA_ASSIGN(const std::vector<int32_t> tokens,
                model.tokenizer.encode(call.body["content"].get_ref<const std::string&>(),
                                       {.add_special = value_of(call.body, "add_special", false),
                                        .parse_special = value_of(call.body, "parse_special", false)}));
  Json out{{"tokens", tokens}, {"count", tokens.size()}, {"max_model_len", model.context()}};
  if (value_of(call.body, "with_pieces", false)) {
    out["pieces"] = Json::array();
    for (const int32_t token : tokens) out["pieces"].push_back(model.tokenizer.piece(token));
  }
  return json_reply(out);
}

Answer<Reply> answer_detokenize(Call& call) {
  LAMINA_ASSIGN(const size_t index, call.find_model(kAny));
  const ServedModel& model = call.model(index);
  LAMINA_ASSIGN(const std::vector<int32_t> tokens, read_tokens(call.body["tokens"], "tokens", model));
  return json_reply({{"content", model.tokenizer.decode(tokens, value_of(call.body, "skip_special", false))}});
}

Answer<Reply> answer_apply_template(Call& call) {
  LAMINA_ASSIGN(const size_t index, call.find_model({Task::kGenerate}));
  const ServedModel& model = call.model(index);
  LAMINA_ASSIGN(const Conversation conversation, render_conversation(model, call.body));
  LAMINA_ASSIGN(const std::vector<int32_t> tokens, encode_conversation(model, conversation.text));
  return json_reply({{"prompt", conversation.text}, {"tokens", tokens}, {"count", tokens.size()}});
}

}  // namespace lamina::serve
