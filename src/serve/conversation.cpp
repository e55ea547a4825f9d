#include "serve/conversation.h"

#include <array>

#include "serve/fields.h"
#include "serve/grammars.h"

namespace lamina::serve {

namespace {

constexpr std::array kMessageFields{
    Field{"role", FieldType::kText, "system, user, assistant or what the template knows", true},
    Field{"content", FieldType::kText, "what is said"},
    Field{"name", FieldType::kText, "who says it, where the template shows it"},
    Field{"reasoning_content", FieldType::kText, "what was thought before it, where the template shows it"},
    Field{"reasoning", FieldType::kText, "another name of reasoning_content"},
    Field{"tool_calls", FieldType::kList, "of an assistant: the calls that it made", false, 1, 128},
    Field{"tool_call_id", FieldType::kText, "of a tool's result: the call"},
    Field{"refusal", FieldType::kText, "taken and not used"},
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
    Json& message = messages[i];
    if (!message.is_object()) return refuse(400, place, "{}: an object expected", place);
    LAMINA_CHECK_OK(join_parts(message, place));
    LAMINA_CHECK_OK(check_fields(message, kMessageFields, place));
    message.erase("refusal");
    if (message.contains("content")) continue;
    if (!message.contains("tool_calls")) return refuse(400, place, "{}.content: it is missing; a text expected", place);
    // Templates ask whether it is none, or leave out what is empty.
    message["content"] = nullptr;
  }
  return messages;
}

/// Templates that do not know a developer call that role system.
void name_roles(Json& messages, std::string_view source) {
  if (source.find("developer") != std::string_view::npos) return;
  for (Json& message : messages) {
    if (message["role"] == "developer") message["role"] = "system";
  }
}

/// Whether the model has begun to think, at the end of the prompt or in the message that it goes on with; and whether
/// it still may, unless the template has done that for it.
void find_thoughts(Conversation& conversation, const Json& messages) {
  const ThinkForm* thinks = conversation.form->thinks;
  if (thinks == nullptr) return;
  if (conversation.continues) {
    const Json& content = messages.back()["content"];
    const std::string text = content.is_string() ? content.get<std::string>() : "";
    const size_t open = text.rfind(thinks->open);
    conversation.begins_inside = open != std::string::npos && text.find(thinks->close, open) == std::string::npos;
    conversation.may_think = conversation.begins_inside;
    return;
  }
  const std::string_view text = conversation.text;
  const size_t end = text.find_last_not_of(" \n\t\r");
  const std::string_view last = text.substr(0, end == std::string_view::npos ? 0 : end + 1);
  conversation.begins_inside = last.ends_with(thinks->open);
  conversation.may_think = !last.ends_with(thinks->close);
}

/// What a template is given besides messages and tools.
Answer<text::ChatTemplateInput> read_input(const ServedModel& model, const Json& body) {
  text::ChatTemplateInput input;
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
  return input;
}

}  // namespace

Answer<Conversation> render_conversation(const ServedModel& model, const Json& body) {
  if (!model.chat_template) {
    return refuse(400, "model", "model: {} has no chat template (a base model); /v1/completions continues texts",
                  model.name);
  }
  Conversation conversation;
  conversation.form = &model.grammars->form(model.chat_template->source(), model.tokenizer);
  LAMINA_ASSIGN(text::ChatTemplateInput input, read_input(model, body));
  conversation.continues = !input.continue_field.empty();
  LAMINA_ASSIGN(conversation.tools, read_tools(body));
  LAMINA_ASSIGN(Json messages, read_messages(body));
  name_roles(messages, model.chat_template->source());
  LAMINA_ASSIGN(input.messages, messages_with_tools(std::move(messages), conversation.tools, *conversation.form));
  if (conversation.form->renders_tools) input.tools = conversation.tools.shown;
  auto rendered = model.chat_template->render(input);
  if (!rendered) {
    // Some templates write a call's arguments as they are, and can so only with a text.
    Json texts = with_argument_texts(input.messages);
    if (texts != input.messages) {
      input.messages = std::move(texts);
      rendered = model.chat_template->render(input);
    }
  }
  if (!rendered) return refuse(400, "messages", "messages: the chat template refuses: {}", rendered.error().text());
  conversation.text = std::move(*rendered);
  find_thoughts(conversation, input.messages);
  return conversation;
}

Answer<std::vector<int32_t>> encode_conversation(const ServedModel& model, const std::string& rendered) {
  LAMINA_ASSIGN(std::vector<int32_t> tokens,
                model.tokenizer.encode(rendered, {.add_special = false, .parse_special = true}));
  return tokens;
}

}  // namespace lamina::serve
