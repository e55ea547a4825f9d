#include "serve/block_messages.h"

#include <array>

#include "serve/fields.h"

namespace lamina::serve {

namespace {

constexpr std::array kMessageFields{
    Field{"role", FieldType::kText, "user or assistant", true, 0, 0, "user|assistant|system"},
    Field{"content", FieldType::kTextOrList, "a text or blocks", true}};
constexpr std::array kTextFields{Field{"type", FieldType::kText, "text", true},
                                 Field{"text", FieldType::kText, "what is said", true},
                                 Field{"cache_control", FieldType::kObject, "taken and not used"},
                                 Field{"citations", FieldType::kAny, "taken and not used"}};
constexpr std::array kThinkingFields{Field{"type", FieldType::kText, "thinking", true},
                                     Field{"thinking", FieldType::kText, "what was thought", true},
                                     Field{"signature", FieldType::kText, "taken and not used"}};
constexpr std::array kUseFields{
    Field{"type", FieldType::kText, "tool_use", true}, Field{"id", FieldType::kText, "of the call", true},
    Field{"name", FieldType::kText, "the tool", true}, Field{"input", FieldType::kObject, "its arguments", true},
    Field{"cache_control", FieldType::kObject, "taken and not used"}};
constexpr std::array kResultFields{
    Field{"type", FieldType::kText, "tool_result", true}, Field{"tool_use_id", FieldType::kText, "the call", true},
    Field{"content", FieldType::kTextOrList, "what came of it"}, Field{"is_error", FieldType::kFlag, "it failed"},
    Field{"cache_control", FieldType::kObject, "taken and not used"}};
constexpr std::array kToolFields{Field{"type", FieldType::kText, "custom", false, 0, 0, "custom"},
                                 Field{"name", FieldType::kText, "letters, digits, _ and -", true, 1, 64},
                                 Field{"description", FieldType::kText, "what it does"},
                                 Field{"input_schema", FieldType::kObject, "a JSON schema of its arguments", true},
                                 Field{"strict", FieldType::kFlag, "calls keep to the schema in any case"},
                                 Field{"cache_control", FieldType::kObject, "taken and not used"}};
constexpr std::array kChoiceFields{
    Field{"type", FieldType::kText, "how tools are chosen", true, 0, 0, "auto|any|tool|none"},
    Field{"name", FieldType::kText, "the tool"},
    Field{"disable_parallel_tool_use", FieldType::kFlag, "one call at most"}};
constexpr std::array kModeFields{
    Field{"type", FieldType::kText, "enabled or disabled", true, 0, 0, "enabled|disabled"},
    Field{"budget_tokens", FieldType::kInteger, "taken and not used", false, 1024, 1 << 24}};

/// A text, or a list of blocks of text, as one text.
Answer<std::string> text_of(const Json& content, const std::string& place) {
  if (content.is_string()) return content.get<std::string>();
  std::string text;
  for (size_t i = 0; i < content.size(); ++i) {
    const std::string where = fmt::format("{}[{}]", place, i);
    Json block = content[i];
    if (!block.is_object() || block.value("type", Json()) != "text")
      return refuse(400, where, "{}: a block of type text expected", where);
    LAMINA_CHECK_OK(check_fields(block, kTextFields, where));
    text += (i > 0 ? "\n" : "") + block["text"].get<std::string>();
  }
  return text;
}

/// A message that is put together from blocks.
struct Parts {
  std::string text;
  std::string thoughts;
  Json calls = Json::array();
  Json results = Json::array();
  bool has_text = false;

  Answer<void> add(Json block, const std::string& place) {
    if (!block.is_object() || !block.contains("type") || !block["type"].is_string())
      return refuse(400, place, "{}: an object with a type expected", place);
    const std::string type = block["type"].get<std::string>();
    if (type == "text") {
      LAMINA_CHECK_OK(check_fields(block, kTextFields, place));
      text += (has_text ? "\n" : "") + block["text"].get<std::string>();
      has_text = true;
      return {};
    }
    if (type == "thinking") {
      LAMINA_CHECK_OK(check_fields(block, kThinkingFields, place));
      thoughts += block["thinking"].get<std::string>();
      return {};
    }
    if (type == "tool_use") {
      LAMINA_CHECK_OK(check_fields(block, kUseFields, place));
      calls.push_back({{"id", block["id"]},
                       {"type", "function"},
                       {"function", {{"name", block["name"]}, {"arguments", block["input"]}}}});
      return {};
    }
    if (type != "tool_result")
      return refuse(400, place, "{}: found type {}; text, thinking, tool_use or tool_result expected", place, type);
    LAMINA_CHECK_OK(check_fields(block, kResultFields, place));
    std::string told;
    if (block.contains("content")) {
      LAMINA_ASSIGN(told, text_of(block["content"], place + ".content"));
    }
    if (value_of(block, "is_error", false)) told = "Error: " + told;
    results.push_back({{"role", "tool"}, {"tool_call_id", block["tool_use_id"]}, {"content", std::move(told)}});
    return {};
  }

  void append(const Json& role, Json& messages) const {
    for (const Json& result : results) messages.push_back(result);
    if (!has_text && thoughts.empty() && calls.empty() && !results.empty()) return;
    Json message{{"role", role}};
    if (has_text || calls.empty()) message["content"] = text;
    if (!thoughts.empty()) message["reasoning_content"] = thoughts;
    if (!calls.empty()) message["tool_calls"] = calls;
    messages.push_back(std::move(message));
  }
};

Answer<Json> chat_messages(const Json& body) {
  Json messages = Json::array();
  if (body.contains("system")) {
    LAMINA_ASSIGN(std::string text, text_of(body["system"], "system"));
    messages.push_back({{"role", "system"}, {"content", std::move(text)}});
  }
  for (size_t i = 0; i < body["messages"].size(); ++i) {
    const std::string place = fmt::format("messages[{}]", i);
    Json message = body["messages"][i];
    if (!message.is_object()) return refuse(400, place, "{}: an object expected", place);
    LAMINA_CHECK_OK(check_fields(message, kMessageFields, place));
    Parts parts;
    if (message["content"].is_string()) {
      parts.text = message["content"].get<std::string>();
      parts.has_text = true;
    } else {
      for (size_t k = 0; k < message["content"].size(); ++k)
        LAMINA_CHECK_OK(parts.add(message["content"][k], fmt::format("{}.content[{}]", place, k)));
    }
    parts.append(message["role"], messages);
  }
  return messages;
}

Answer<void> add_tools(const Json& body, Json& out) {
  if (body.contains("tools")) {
    out["tools"] = Json::array();
    for (size_t i = 0; i < body["tools"].size(); ++i) {
      const std::string place = fmt::format("tools[{}]", i);
      Json tool = body["tools"][i];
      if (!tool.is_object()) return refuse(400, place, "{}: an object expected", place);
      LAMINA_CHECK_OK(check_fields(tool, kToolFields, place));
      Json function{{"name", tool["name"]}};
      if (tool.contains("description")) function["description"] = tool["description"];
      function["parameters"] = tool["input_schema"];
      if (tool.contains("strict")) function["strict"] = tool["strict"];
      out["tools"].push_back({{"type", "function"}, {"function", std::move(function)}});
    }
  }
  if (!body.contains("tool_choice")) return {};
  Json choice = body["tool_choice"];
  LAMINA_CHECK_OK(check_fields(choice, kChoiceFields, "tool_choice"));
  const auto& type = choice["type"].get_ref<const std::string&>();
  if (type == "tool") {
    if (!choice.contains("name"))
      return refuse(400, "tool_choice.name", "tool_choice.name: it is missing; a tool expected");
    out["tool_choice"] = {{"type", "function"}, {"function", {{"name", choice["name"]}}}};
  } else {
    out["tool_choice"] = type == "any" ? "required" : type;
  }
  out["parallel_tool_calls"] = !value_of(choice, "disable_parallel_tool_use", false);
  return {};
}

}  // namespace

Answer<Json> chat_body_of(const Json& body) {
  Json out = Json::object();
  LAMINA_ASSIGN(out["messages"], chat_messages(body));
  LAMINA_CHECK_OK(add_tools(body, out));
  // An answer that has been begun is gone on with.
  const Json& last = out["messages"].back();
  if (last["role"] == "assistant" && !last.contains("tool_calls")) out["continue_final_message"] = true;
  if (body.contains("thinking")) {
    Json mode = body["thinking"];
    LAMINA_CHECK_OK(check_fields(mode, kModeFields, "thinking"));
    out["chat_template_kwargs"] = {{"enable_thinking", mode["type"] == "enabled"}};
  }
  return out;
}

}  // namespace lamina::serve
