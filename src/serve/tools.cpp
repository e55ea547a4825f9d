#include "serve/tools.h"

#include <algorithm>
#include <array>

#include "run/random.h"
#include "serve/fields.h"

namespace lamina::serve {

namespace {

constexpr size_t kLongestName = 64;

constexpr std::array kToolFields{Field{"type", FieldType::kText, "function", true, 0, 0, "function"},
                                 Field{"function", FieldType::kObject, "the function", true}};
constexpr std::array kFunctionFields{
    Field{"name", FieldType::kText, "letters, digits, _ and -", true, 1, kLongestName},
    Field{"description", FieldType::kText, "what it does"},
    Field{"parameters", FieldType::kObject, "a JSON schema of its arguments"},
    Field{"strict", FieldType::kFlag, "calls keep to the schema in any case"},
};
constexpr std::array kChoiceFields{Field{"type", FieldType::kText, "function", true, 0, 0, "function"},
                                   Field{"function", FieldType::kObject, "{name}", true}};
constexpr std::array kNamedFields{Field{"name", FieldType::kText, "one of the tools", true}};

bool is_name(const std::string& name) {
  return std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
           c == '.';
  });
}

Answer<Tool> read_tool(Json& entry, const std::string& place) {
  if (!entry.is_object()) return refuse(400, place, "{}: an object expected", place);
  LAMINA_CHECK_OK(check_fields(entry, kToolFields, place));
  Json& function = entry["function"];
  const std::string inner = place + ".function";
  LAMINA_CHECK_OK(check_fields(function, kFunctionFields, inner));
  Tool tool{.name = function["name"].get<std::string>(),
            .parameters = function.contains("parameters") ? function["parameters"] : Json{{"type", "object"}},
            .strict = value_of(function, "strict", false),
            .place = inner + ".parameters"};
  if (!is_name(tool.name)) return refuse(400, inner + ".name", "{}.name: letters, digits, _, - and . expected", inner);
  return tool;
}

Answer<void> read_choice(const Json& body, ToolUse& use) {
  use.choice = use.tools.empty() ? ToolChoice::kNone : ToolChoice::kAuto;
  const auto found = body.find("tool_choice");
  if (found == body.end()) return {};
  constexpr std::array<std::pair<std::string_view, ToolChoice>, 3> kNames{
      {{"none", ToolChoice::kNone}, {"auto", ToolChoice::kAuto}, {"required", ToolChoice::kRequired}}};
  if (found->is_string()) {
    const auto& name = found->get_ref<const std::string&>();
    const auto known = std::ranges::find(kNames, name, &std::pair<std::string_view, ToolChoice>::first);
    if (known == kNames.end())
      return refuse(400, "tool_choice", "tool_choice: found {}; none, auto, required or a function expected", name);
    use.choice = known->second;
  } else {
    Json choice = *found;
    if (!choice.is_object()) return refuse(400, "tool_choice", "tool_choice: a text or an object expected");
    LAMINA_CHECK_OK(check_fields(choice, kChoiceFields, "tool_choice"));
    LAMINA_CHECK_OK(check_fields(choice["function"], kNamedFields, "tool_choice.function"));
    use.named = choice["function"]["name"].get<std::string>();
    use.choice = ToolChoice::kNamed;
  }
  if (use.tools.empty() && use.choice != ToolChoice::kNone)
    return refuse(400, "tool_choice", "tool_choice: only with tools");
  if (use.choice == ToolChoice::kNamed && std::ranges::find(use.tools, use.named, &Tool::name) == use.tools.end())
    return refuse(400, "tool_choice", "tool_choice: {} is none of the tools", use.named);
  return {};
}

/// Calls of an assistant's message: arguments become objects.
Answer<void> read_calls(Json& message, const std::string& place) {
  for (size_t i = 0; i < message["tool_calls"].size(); ++i) {
    Json& call = message["tool_calls"][i];
    const std::string where = fmt::format("{}.tool_calls[{}]", place, i);
    const bool shaped = call.is_object() && call.contains("function") && call["function"].is_object() &&
                        call["function"].contains("name") && call["function"]["name"].is_string();
    if (!shaped) return refuse(400, where, "{}: an object with function: {{name, arguments}} expected", where);
    call["type"] = "function";
    Json& function = call["function"];
    if (!function.contains("arguments") || function["arguments"].is_null()) function["arguments"] = Json::object();
    if (function["arguments"].is_string()) {
      const std::string text = function["arguments"].get<std::string>();
      Json parsed = text.empty() ? Json::object() : Json::parse(text, nullptr, false);
      function["arguments"] = std::move(parsed);
    }
    if (!function["arguments"].is_object())
      return refuse(400, where, "{}.function.arguments: the text of a JSON object expected", where);
  }
  return {};
}

std::string described(const ToolUse& use, const ToolForm& form) {
  std::string out = "You can call these tools, described as JSON:\n";
  for (const Json& tool : use.shown) out += to_text(tool) + "\n";
  out += fmt::format("To call one, write {}{{\"{}\": \"its name\", \"{}\": {{its arguments}}}}{} and nothing else.",
                     form.begin, form.name_key, form.arguments_key, form.end);
  return out;
}

/// A message of a call, or of its result, as a text.
void make_plain(Json& message, const ToolForm& form) {
  if (message["role"] == "tool") {
    message["role"] = "user";
    const Json& told = message["content"];
    message["content"] = "<tool_response>\n" + (told.is_string() ? told.get<std::string>() : "") + "\n</tool_response>";
    message.erase("tool_call_id");
    return;
  }
  if (!message.contains("tool_calls")) return;
  std::string text =
      message.contains("content") && message["content"].is_string() ? message["content"].get<std::string>() : "";
  for (const Json& call : message["tool_calls"]) {
    const Json body{{form.name_key, call["function"]["name"]}, {form.arguments_key, call["function"]["arguments"]}};
    text += fmt::format("{}{}{}{}", text.empty() ? "" : "\n", form.begin, to_text(body), form.end);
  }
  message["content"] = text;
  message.erase("tool_calls");
}

}  // namespace

Answer<ToolUse> read_tools(const Json& body) {
  ToolUse use;
  use.parallel = value_of(body, "parallel_tool_calls", true);
  if (body.contains("tools")) {
    Json tools = body["tools"];
    for (size_t i = 0; i < tools.size(); ++i) {
      LAMINA_ASSIGN(Tool tool, read_tool(tools[i], fmt::format("tools[{}]", i)));
      if (std::ranges::find(use.tools, tool.name, &Tool::name) != use.tools.end())
        return refuse(400, "tools", "tools[{}]: another one is called {}, too", i, tool.name);
      use.tools.push_back(std::move(tool));
      tools[i]["function"].erase("strict");
    }
    use.shown = std::move(tools);
  }
  LAMINA_CHECK_OK(read_choice(body, use));
  if (!use.active()) use.shown = nullptr;
  return use;
}

Answer<Json> messages_with_tools(Json messages, const ToolUse& use, const AnswerForm& form) {
  for (size_t i = 0; i < messages.size(); ++i) {
    if (messages[i].contains("tool_calls")) LAMINA_CHECK_OK(read_calls(messages[i], fmt::format("messages[{}]", i)));
  }
  if (form.renders_tools) return messages;
  for (Json& message : messages) make_plain(message, *form.tools);
  if (!use.active()) return messages;
  const std::string text = described(use, *form.tools);
  const bool has_system = !messages.empty() && messages[0]["role"] == "system" && messages[0]["content"].is_string();
  if (has_system) {
    messages[0]["content"] = messages[0]["content"].get<std::string>() + "\n\n" + text;
  } else {
    messages.insert(messages.begin(), Json{{"role", "system"}, {"content", text}});
  }
  return messages;
}

Json with_argument_texts(Json messages) {
  for (Json& message : messages) {
    if (!message.contains("tool_calls")) continue;
    for (Json& call : message["tool_calls"]) call["function"]["arguments"] = to_text(call["function"]["arguments"]);
  }
  return messages;
}

std::string call_id(std::string_view request, int part, int call) {
  constexpr std::string_view kLetters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  constexpr int kLength = 9;
  uint64_t bits = run::random_bits(std::hash<std::string_view>{}(request), static_cast<uint64_t>(part),
                                   static_cast<uint32_t>(call));
  std::string id;
  for (int i = 0; i < kLength; ++i, bits /= kLetters.size()) id += kLetters[bits % kLetters.size()];
  return id;
}

}  // namespace lamina::serve
