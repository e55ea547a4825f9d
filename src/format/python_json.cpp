#include "format/python_json.h"

#include "format/json.h"

namespace lamina::format {

namespace {

using nlohmann::json;

constexpr std::string_view kWord = "Infinity";
constexpr std::string_view kNumber = "1e308   ";  // as long as the word, so that positions in messages stay
constexpr const char* kTag = "__float__";

/// Writes the number over each word that is not in a string.
void replace_words(std::string& text) {
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '"') in_string = !in_string;
    if (in_string && text[i] == '\\') ++i;
    if (!in_string && std::string_view(text).substr(i).starts_with(kWord)) text.replace(i, kWord.size(), kNumber);
  }
}

/// The number that a tagged object stands for, or null.
json tagged(const json& value) {
  if (!value.is_object() || value.size() != 1 || !value.contains(kTag)) return {};
  if (value[kTag] == "Infinity") return 1e308;
  if (value[kTag] == "-Infinity") return -1e308;
  return value[kTag].is_number() ? value[kTag] : json();
}

/// parse_json() bounds how deep values lie.
void replace_tagged(json& value) {
  if (json number = tagged(value); !number.is_null()) {
    value = std::move(number);
    return;
  }
  if (!value.is_structured()) return;
  for (json& item : value) replace_tagged(item);
}

}  // namespace

core::Result<json> parse_python_json(std::string text, std::string_view place) {
  replace_words(text);
  LAMINA_ASSIGN(json value, parse_json(text, place));
  replace_tagged(value);
  return value;
}

}  // namespace lamina::format
