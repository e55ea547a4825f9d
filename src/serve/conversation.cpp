#include "serve/conversation.h"

#include <array>

#include "serve/fields.h"

namespace lamina::serve {

namespace {

constexpr std::array kMessageFields{
    Field{"role", FieldType::kText, "system, user, assistant or what the template knows", true},
    Field{"content", FieldType::kText, "what is said"},
    Field{"name", FieldType::kText, "who says it, where the template shows it"},
    Field{"reasoning_content", FieldType::kText, "what was thought before it, where the template shows it"},
};
constexpr std::array kPartFields{Field{"type", FieldType::kText, "text", true, 0, 0, "text"},
                                 Field{"text", FieldType::kText, "what is said", true}};

/// A list of parts becomes one text, a part a line, as templates that know no parts expect.
Answer<void> join_parts(Json& message, const std::string& place) {
  const auto content = message.find("content");
  if (content == message.end() || !content->is_array()) return {};
  std::string text;
  for (size_t i = 0; i < content->size(); ++i) {
    Json& part = (*content)[i];
    const std::string where = fmt::format("{}.content[{}]", place, i);
    if (!part.is_object()) return refuse(400, where, "{}: an object expected", where);
    LAMINA_CHECK_OK(check_fields(part, kPartFields, where));
    text += (i > 0 ? "\n" : "") + part["text"].get<std::string>();
  }
  *content = text;
  return {};
}

Answer<Json> read_messages(const Json& body) {
  Json messages = body["messages"];
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string place = fmt::format("messages[{}]", i);
    if (!messages[i].is_object()) return refuse(400, place, "{}: an object expected", place);
    LAMINA_CHECK_OK(join_parts(messages[i], place));
    LAMINA_CHECK_OK(check_fields(messages[i], kMessageFields, place));
    if (!messages[i].contains("content"))
      return refuse(400, place, "{}.content: it is missing; a text expected", place);
  }
  return messages;
}

}  // namespace

Answer<std::string> render_conversation(const ServedModel& model, const Json& body) {
  if (!model.chat_template) {
    return refuse(400, "model", "model: {} has no chat template (a base model); /v1/completions continues texts",
                  model.name);
  }
  text::ChatTemplateInput input;
  LAMINA_ASSIGN(input.messages, read_messages(body));
  const bool continues = value_of(body, "continue_final_message", false);
  input.add_generation_prompt = value_of(body, "add_generation_prompt", !continues);
  if (continues && input.add_generation_prompt) {
    return refuse(400, "continue_final_message",
                  "continue_final_message: it goes with add_generation_prompt: false alone");
  }
  if (continues) input.continue_field = "content";
  if (body.contains("chat_template_kwargs")) input.extra = body["chat_template_kwargs"];
  input.bos_token = model.tokenizer.token(model.tokenizer.bos());
  input.eos_token = model.tokenizer.token(model.tokenizer.eos());
  auto rendered = model.chat_template->render(input);
  if (!rendered) return refuse(400, "messages", "messages: the chat template refuses: {}", rendered.error().text());
  return std::move(*rendered);
}

Answer<std::vector<int32_t>> encode_conversation(const ServedModel& model, const std::string& rendered) {
  LAMINA_ASSIGN(std::vector<int32_t> tokens,
                model.tokenizer.encode(rendered, {.add_special = false, .parse_special = true}));
  return tokens;
}

}  // namespace lamina::serve
