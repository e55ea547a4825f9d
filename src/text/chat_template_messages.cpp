#include <vector>

#include "text/chat_template.h"
#include "text/jinja_unicode.h"

namespace lamina::text {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kPlace = "messages";
constexpr int kMaxDepth = 64;
constexpr size_t kMaxFields = 4096;

// Refuses documents whose nesting or field count would cost more than their size, before they are built.
class Guard {
 public:
  bool operator()(int depth, Json::parse_event_t event, Json&) {
    if (depth > kMaxDepth) too_deep_ = true;
    if (event == Json::parse_event_t::object_start) {
      fields_.push_back(0);
    } else if (event == Json::parse_event_t::object_end) {
      fields_.pop_back();
    } else if (event == Json::parse_event_t::key && ++fields_.back() > kMaxFields) {
      too_many_ = true;
    }
    if (too_deep_ || too_many_) throw Stop{};
    return true;
  }

  struct Stop {};
  bool too_deep() const { return too_deep_; }

 private:
  std::vector<size_t> fields_;
  bool too_deep_ = false, too_many_ = false;
};

core::Result<Json> parse_json(std::string_view text) {
  if (!jinja::is_utf8(text)) return core::fail(core::ErrorCode::kInvalid, kPlace, "the text is not UTF-8");
  Guard guard;
  try {
    return Json::parse(text,
                       [&](int depth, Json::parse_event_t event, Json& parsed) { return guard(depth, event, parsed); });
  } catch (const Guard::Stop&) {
    if (guard.too_deep()) return core::fail(core::ErrorCode::kLimit, kPlace, "nested deeper than {}", kMaxDepth);
    return core::fail(core::ErrorCode::kLimit, kPlace, "an object with more than {} fields", kMaxFields);
  } catch (const Json::exception& error) {
    return core::fail(core::ErrorCode::kInvalid, kPlace, "{}", error.what());
  }
}

core::Status check_content(const Json& content, const std::string& place) {
  if (content.is_string() || content.is_null()) return {};
  if (!content.is_array()) {
    return core::fail(core::ErrorCode::kInvalid, place, "a string, null or a list of parts expected, not {}",
                      content.type_name());
  }
  for (size_t i = 0; i < content.size(); ++i) {
    const std::string part = fmt::format("{}[{}]", place, i);
    if (!content[i].is_object()) {
      return core::fail(core::ErrorCode::kInvalid, part, "an object expected, not {}", content[i].type_name());
    }
    const auto type = content[i].find("type");
    if (type == content[i].end() || !type->is_string()) {
      return core::fail(core::ErrorCode::kInvalid, part,
                        "a string field 'type' expected, as in {{\"type\": \"text\"}}");
    }
  }
  return {};
}

core::Status check_message(const Json& message, size_t index) {
  const std::string place = fmt::format("messages[{}]", index);
  if (!message.is_object()) {
    return core::fail(core::ErrorCode::kInvalid, place, "an object expected, not {}", message.type_name());
  }
  const auto role = message.find("role");
  if (role == message.end() || !role->is_string() || role->get_ref<const std::string&>().empty()) {
    return core::fail(core::ErrorCode::kInvalid, place,
                      "a string field 'role' expected, e.g. system, user, assistant or tool");
  }
  const auto content = message.find("content");
  if (content != message.end()) return check_content(*content, place + ".content");
  if (message.contains("tool_calls") || message.contains("function_call")) return {};
  return core::fail(core::ErrorCode::kInvalid, place, "'content' is missing (only messages with tool_calls need none)");
}

core::Status check_messages(const Json& messages) {
  if (!messages.is_array()) {
    return core::fail(core::ErrorCode::kInvalid, kPlace, "a list expected, not {}", messages.type_name());
  }
  for (size_t i = 0; i < messages.size(); ++i) LAMINA_CHECK_OK(check_message(messages[i], i));
  return {};
}

/// The field that `continue_final_message` names, or the reason why it names none.
core::Result<std::string> continue_field(const Json& value) {
  if (value.is_boolean()) return value.get<bool>() ? std::string("content") : std::string();
  if (value.is_string()) return value.get<std::string>();
  return core::fail(core::ErrorCode::kInvalid, "continue_final_message",
                    "true, false or the name of a field expected, not {}", value.type_name());
}

core::Status check_tools(const Json& tools) {
  if (tools.is_null()) return {};
  if (!tools.is_array()) {
    return core::fail(core::ErrorCode::kInvalid, "tools", "a list or null expected, not {}", tools.type_name());
  }
  for (size_t i = 0; i < tools.size(); ++i) {
    if (!tools[i].is_object()) {
      return core::fail(core::ErrorCode::kInvalid, fmt::format("tools[{}]", i), "an object expected, not {}",
                        tools[i].type_name());
    }
  }
  return {};
}

}  // namespace

core::Result<ChatMessages> parse_messages(std::string_view json) {
  LAMINA_ASSIGN(Json document, parse_json(json));
  ChatMessages result;
  result.extra = Json::object();
  if (document.is_array()) {
    result.messages = std::move(document);
  } else if (document.is_object() && document.contains("messages")) {
    for (auto& [name, value] : document.items()) {
      if (name == "messages") {
        result.messages = std::move(value);
      } else if (name == "tools") {
        result.tools = std::move(value);
      } else if (name == "add_generation_prompt") {
        if (!value.is_boolean()) {
          return core::fail(core::ErrorCode::kInvalid, name, "true or false expected, not {}", value.type_name());
        }
        result.add_generation_prompt = value.get<bool>();
      } else if (name == "continue_final_message") {
        LAMINA_ASSIGN(result.continue_field, continue_field(value));
      } else {
        result.extra[name] = std::move(value);
      }
    }
  } else {
    return core::fail(core::ErrorCode::kInvalid, kPlace, "a list of messages or an object with 'messages' expected");
  }
  LAMINA_CHECK_OK(check_messages(result.messages));
  LAMINA_CHECK_OK(check_tools(result.tools));
  return result;
}

}  // namespace lamina::text
