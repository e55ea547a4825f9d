#include "text/chat_template_edit.h"

#include <algorithm>
#include <array>
#include <vector>

#include "text/jinja_unicode.h"

namespace lamina::text {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kPlace = "continue_final_message";
/// Names under which clients send reasoning; templates read one of the first two.
constexpr std::array<const char*, 3> kReasoning = {"reasoning_content", "thinking", "reasoning"};
/// Ends in a space, so that a template that strips the text can be told from one that keeps it.
constexpr std::string_view kMark = "LAMINA_ENDS_THE_PARTIAL_MESSAGE_HERE ";

const Json* reasoning_of(const Json& message) {
  if (!message.is_object()) return nullptr;
  for (const char* name : kReasoning) {
    const auto found = message.find(name);
    if (found != message.end() && !found->is_null()) return &*found;
  }
  return nullptr;
}

Json with_reasoning(const Json& message, const Json& reasoning) {
  Json named = Json::object();
  named["thinking"] = reasoning;
  for (const auto& [name, value] : message.items()) named[name] = value;
  named["reasoning_content"] = reasoning;
  return named;
}

/// The fields that hold the text to be continued: reasoning stands under several names.
std::vector<std::string> fields_of(const Json& message, const std::string& field) {
  if (std::find(kReasoning.begin(), kReasoning.end(), field) == kReasoning.end()) return {field};
  std::vector<std::string> fields;
  for (const char* name : kReasoning) {
    const auto found = message.find(name);
    if (found != message.end() && *found == message.at(field)) fields.emplace_back(name);
  }
  return fields;
}

core::Result<std::string> mark_end(Json& value) {
  if (value.is_string()) {
    std::string text = value.get<std::string>();
    value = text + std::string(kMark);
    return text;
  }
  if (value.is_array()) {
    for (size_t i = value.size(); i-- > 0;) {
      const auto text = value[i].is_object() ? value[i].find("text") : value[i].end();
      if (text != value[i].end() && text->is_string()) return mark_end(*text);
    }
  }
  return core::fail(core::ErrorCode::kInvalid, kPlace, "the last message has no text to be continued");
}

core::Result<std::string> mark_message(Json& message, const std::string& field, std::string_view source) {
  const auto found = message.is_object() ? message.find(field) : message.end();
  if (found == message.end() || found->is_null()) {
    return core::fail(core::ErrorCode::kInvalid, kPlace, "the last message has no '{}' to be continued", field);
  }
  const std::vector<std::string> fields = fields_of(message, field);
  const auto read = [&](const std::string& name) { return source.find(name) != std::string_view::npos; };
  if (std::none_of(fields.begin(), fields.end(), read)) {
    return core::fail(core::ErrorCode::kInvalid, kPlace, "the chat template does not read '{}'", field);
  }
  std::string partial;
  for (const std::string& name : fields) {
    LAMINA_ASSIGN(partial, mark_end(message[name]));
  }
  return partial;
}

}  // namespace

core::Result<EditedMessages> edit_messages(const ChatTemplateInput& input, std::string_view source) {
  EditedMessages edited;
  const auto reasons = [](const Json& message) { return reasoning_of(message) != nullptr; };
  const bool any = input.messages.is_array() && std::any_of(input.messages.begin(), input.messages.end(), reasons);
  if (!any && input.continue_field.empty()) return edited;
  edited.messages = input.messages;
  for (Json& message : *edited.messages) {
    if (const Json* reasoning = reasoning_of(message)) message = with_reasoning(message, *reasoning);
  }
  if (input.continue_field.empty()) return edited;
  if (input.add_generation_prompt) {
    return core::fail(core::ErrorCode::kInvalid, kPlace, "excludes add_generation_prompt, which opens a new message");
  }
  if (!edited.messages->is_array() || edited.messages->empty()) {
    return core::fail(core::ErrorCode::kInvalid, kPlace, "there is no message to be continued");
  }
  LAMINA_ASSIGN(edited.partial, mark_message(edited.messages->back(), input.continue_field, source));
  return edited;
}

core::Result<std::string> cut_behind(std::string rendered, std::string_view partial) {
  const std::string_view mark = jinja::strip(kMark, nullptr, false, true);
  const size_t at = rendered.rfind(mark);
  if (at == std::string::npos || rendered.find(jinja::strip(partial, nullptr, true, true)) == std::string::npos) {
    return core::fail(core::ErrorCode::kInvalid, kPlace, "the chat template changes or leaves out the last message");
  }
  const bool kept = std::string_view(rendered).substr(at).starts_with(kMark);
  rendered.resize(at);
  if (!kept) rendered.resize(jinja::strip(rendered, nullptr, false, true).size());
  return rendered;
}

}  // namespace lamina::text
