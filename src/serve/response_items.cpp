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

Answer<std::string> read_content(const Json& content, const std::string& place) {
  if (content.is_string()) return content.get<std::string>();
  std::string text;
  for (size_t i = 0; i < content.size(); ++i) {
    Json part = content[i];
    const std::string where = fmt::format("{}[{}]", place, i);
    if (!part.is_object()) return refuse(400, where, "{}: an object expected", where);
    LAMINA_CHECK_OK(check_fields(part, kPartFields, where));
    text += (i > 0 ? "\n" : "") + part["text"].get<std::string>();
  }
  return text;
}

}  // namespace

Answer<Json> read_items(const Json& input) {
  if (input.is_string()) return Json::array({{{"role", "user"}, {"content", input}}});
  Json messages = Json::array();
  for (size_t i = 0; i < input.size(); ++i) {
    Json item = input[i];
    const std::string place = fmt::format("input[{}]", i);
    if (!item.is_object()) return refuse(400, place, "{}: an object expected", place);
    const auto type = item.find("type");
    if (type != item.end() && type->is_string() && *type != "message") {
      return refuse(400, place + ".type", "{}.type: items of type \"{}\" are not supported; messages are", place,
                    type->get<std::string>());
    }
    LAMINA_CHECK_OK(check_fields(item, kItemFields, place));
    LAMINA_ASSIGN(std::string content, read_content(item["content"], place + ".content"));
    messages.push_back({{"role", item["role"]}, {"content", std::move(content)}});
  }
  return messages;
}

}  // namespace lamina::serve
