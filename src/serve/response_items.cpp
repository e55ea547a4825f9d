#include "serve/response_items.h"

#include <array>

#include "serve/fields.h"

namespace lamina::serve {

namespace {

constexpr std::array kItemFields{
    Field{"type", FieldType::kText, "message", false, 0, 0, "message"},
    Field{"role", FieldType::kText, "who says it", true, 0, 0, "user|assistant|system|developer"},
    Field{"content", FieldType::kTextOrList, "what is said: a text, or parts of it", true},
    Field{"id", FieldType::kText, "of an answer's message"},
    Field{"status", FieldType::kText, "of an answer's message"},
};
constexpr std::array kPartFields{
    Field{"type", FieldType::kText, "input_text, output_text or text", true, 0, 0, "input_text|output_text|text"},
    Field{"text", FieldType::kText, "what is said", true},
    Field{"annotations", FieldType::kList, "of an answer; empty", false, 0, 0},
    Field{"logprobs", FieldType::kList, "of an answer", false, 0, 0},
};
constexpr std::array kCallFields{
    Field{"type", FieldType::kText, "function_call", true},
    Field{"call_id", FieldType::kText, "that the result names", true},
    Field{"name", FieldType::kText, "of the tool", true},
    Field{"arguments", FieldType::kText, "the text of a JSON object", true},
    Field{"id", FieldType::kText, "of the item"},
    Field{"status", FieldType::kText, "of the item"},
};
constexpr std::array kResultFields{
    Field{"type", FieldType::kText, "function_call_output", true},
    Field{"call_id", FieldType::kText, "of the call", true},
    Field{"output", FieldType::kTextOrList, "what the tool told: a text, or parts of it", true},
    Field{"id", FieldType::kText, "of the item"},
    Field{"status", FieldType::kText, "of the item"},
};
constexpr std::array kThoughtFields{
    Field{"type", FieldType::kText, "reasoning", true},
    Field{"id", FieldType::kText, "of the item"},
    Field{"summary", FieldType::kList, "taken and not used", false, 0, 4096},
    Field{"content", FieldType::kList, "what was thought: reasoning_text parts", false, 0, 4096},
    Field{"encrypted_content", FieldType::kText, "taken and not used"},
    Field{"status", FieldType::kText, "of the item"},
};
constexpr std::array kThoughtPartFields{Field{"type", FieldType::kText, "reasoning_text", true, 0, 0, "reasoning_text"},
                                        Field{"text", FieldType::kText, "what was thought", true}};
constexpr std::array kToolFields{
    Field{"type", FieldType::kText, "function", true, 0, 0, "function"},
    Field{"name", FieldType::kText, "letters, digits, _ and -", true, 1, 64},
    Field{"description", FieldType::kText, "what it does"},
    Field{"parameters", FieldType::kObject, "a JSON schema of its arguments"},
    Field{"strict", FieldType::kFlag, "calls keep to the schema in any case"},
};
constexpr std::array kChoiceFields{Field{"type", FieldType::kText, "function", true, 0, 0, "function"},
                                   Field{"name", FieldType::kText, "one of the tools", true}};
constexpr std::array kTextFields{Field{"format", FieldType::kObject, "{type: text, json_object or json_schema}"},
                                 Field{"verbosity", FieldType::kText, "medium", false, 0, 0, "medium"}};
constexpr std::array kFormatFields{
    Field{"type", FieldType::kText, "text, json_object or json_schema", true, 0, 0, "text|json_object|json_schema"},
    Field{"name", FieldType::kText, "of the schema"},
    Field{"description", FieldType::kText, "taken and not used"},
    Field{"schema", FieldType::kObject, "what the answer keeps to"},
    Field{"strict", FieldType::kFlag, "answers keep to the schema in any case"},
};
constexpr std::array kReasoningFields{
    Field{"effort", FieldType::kText, "given to the chat template as reasoning_effort"},
    Field{"summary", FieldType::kText, "none is made", false, 0, 0, "auto"}};

/// The texts of a list of parts, a part a line.
Answer<std::string> join_parts(const Json& content, std::span<const Field> fields, const std::string& place) {
  if (content.is_string()) return content.get<std::string>();
  std::string text;
  for (size_t i = 0; i < content.size(); ++i) {
    Json part = content[i];
    const std::string where = fmt::format("{}[{}]", place, i);
    if (!part.is_object()) return refuse(400, where, "{}: an object expected", where);
    LAMINA_CHECK_OK(check_fields(part, fields, where));
    text += (i > 0 ? "\n" : "") + part["text"].get<std::string>();
  }
  return text;
}

/// The assistant's message that a call or a thought belongs to: the last one, unless something else follows it.
Json& turn_of(Json& messages, bool has_calls) {
  const bool open = !messages.empty() && messages.back()["role"] == "assistant" &&
                    (has_calls || !messages.back().contains("tool_calls"));
  if (!open) messages.push_back({{"role", "assistant"}, {"content", nullptr}});
  return messages.back();
}

Answer<void> add_message(Json item, const std::string& place, Json& messages) {
  LAMINA_CHECK_OK(check_fields(item, kItemFields, place));
  LAMINA_ASSIGN(std::string content, join_parts(item["content"], kPartFields, place + ".content"));
  if (item["role"] == "assistant" && !messages.empty() && messages.back()["role"] == "assistant" &&
      messages.back()["content"].is_null() && !messages.back().contains("tool_calls")) {
    messages.back()["content"] = std::move(content);  // what was thought stands before it
    return {};
  }
  messages.push_back({{"role", item["role"]}, {"content", std::move(content)}});
  return {};
}

Answer<void> add_call(Json item, const std::string& place, Json& messages) {
  LAMINA_CHECK_OK(check_fields(item, kCallFields, place));
  turn_of(messages, true)["tool_calls"].push_back(
      {{"id", item["call_id"]},
       {"type", "function"},
       {"function", {{"name", item["name"]}, {"arguments", item["arguments"]}}}});
  return {};
}

Answer<void> add_result(Json item, const std::string& place, Json& messages) {
  LAMINA_CHECK_OK(check_fields(item, kResultFields, place));
  LAMINA_ASSIGN(std::string output, join_parts(item["output"], kPartFields, place + ".output"));
  messages.push_back({{"role", "tool"}, {"tool_call_id", item["call_id"]}, {"content", std::move(output)}});
  return {};
}

Answer<void> add_thoughts(Json item, const std::string& place, Json& messages) {
  LAMINA_CHECK_OK(check_fields(item, kThoughtFields, place));
  if (!item.contains("content")) return {};
  LAMINA_ASSIGN(std::string text, join_parts(item["content"], kThoughtPartFields, place + ".content"));
  if (!text.empty()) messages.push_back({{"role", "assistant"}, {"content", nullptr}, {"reasoning_content", text}});
  return {};
}

Answer<Json> read_tools_of(const Json& body) {
  Json tools = Json::array();
  for (size_t i = 0; i < body["tools"].size(); ++i) {
    Json tool = body["tools"][i];
    const std::string place = fmt::format("tools[{}]", i);
    if (!tool.is_object()) return refuse(400, place, "{}: an object expected", place);
    if (tool.value("type", Json()) != "function")
      return refuse(400, place + ".type", "{}.type: tools of type \"function\" are supported, others are not", place);
    LAMINA_CHECK_OK(check_fields(tool, kToolFields, place));
    tool.erase("type");
    tools.push_back({{"type", "function"}, {"function", std::move(tool)}});
  }
  return tools;
}

Answer<Json> read_format_of(const Json& body) {
  Json text = body["text"];
  LAMINA_CHECK_OK(check_fields(text, kTextFields, "text"));
  if (!text.contains("format")) return Json{{"type", "text"}};
  Json format = text["format"];
  LAMINA_CHECK_OK(check_fields(format, kFormatFields, "text.format"));
  if (format["type"] != "json_schema") return Json{{"type", format["type"]}};
  if (!format.contains("schema")) return refuse(400, "text.format.schema", "text.format.schema: it is missing");
  return Json{
      {"type", "json_schema"},
      {"json_schema", {{"name", value_of<std::string>(format, "name", "answer")}, {"schema", format["schema"]}}}};
}

}  // namespace

Answer<Json> read_items(const Json& input) {
  if (input.is_string()) return Json::array({{{"role", "user"}, {"content", input}}});
  Json messages = Json::array();
  for (size_t i = 0; i < input.size(); ++i) {
    const Json& item = input[i];
    const std::string place = fmt::format("input[{}]", i);
    if (!item.is_object()) return refuse(400, place, "{}: an object expected", place);
    const auto found = item.find("type");
    const std::string type = found != item.end() && found->is_string() ? found->get<std::string>() : "message";
    if (type == "function_call") {
      LAMINA_CHECK_OK(add_call(item, place, messages));
    } else if (type == "function_call_output") {
      LAMINA_CHECK_OK(add_result(item, place, messages));
    } else if (type == "reasoning") {
      LAMINA_CHECK_OK(add_thoughts(item, place, messages));
    } else if (type == "message") {
      LAMINA_CHECK_OK(add_message(item, place, messages));
    } else {
      return refuse(400, place + ".type",
                    "{}.type: items of type \"{}\" are not supported; message, function_call, function_call_output and "
                    "reasoning are",
                    place, type);
    }
  }
  return messages;
}

Answer<Json> chat_fields_of(const Json& body) {
  Json out = Json::object();
  if (body.contains("tools")) {
    LAMINA_ASSIGN(Json tools, read_tools_of(body));
    if (!tools.empty()) out["tools"] = std::move(tools);
  }
  if (body.contains("tool_choice")) {
    Json choice = body["tool_choice"];
    if (choice.is_object()) {
      LAMINA_CHECK_OK(check_fields(choice, kChoiceFields, "tool_choice"));
      choice = {{"type", "function"}, {"function", {{"name", choice["name"]}}}};
    }
    // "auto" says nothing where there are none.
    if (out.contains("tools") || choice != "auto") out["tool_choice"] = std::move(choice);
  }
  if (body.contains("parallel_tool_calls")) out["parallel_tool_calls"] = body["parallel_tool_calls"];
  if (body.contains("text")) {
    LAMINA_ASSIGN(out["response_format"], read_format_of(body));
  }
  if (body.contains("reasoning")) {
    Json reasoning = body["reasoning"];
    LAMINA_CHECK_OK(check_fields(reasoning, kReasoningFields, "reasoning"));
    if (reasoning.contains("effort")) out["chat_template_kwargs"] = {{"reasoning_effort", reasoning["effort"]}};
  }
  return out;
}

}  // namespace lamina::serve
