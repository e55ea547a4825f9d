#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "serve/reply.h"

namespace lamina::serve {

enum class FieldType {
  kText,
  kInteger,
  kNumber,
  kFlag,
  kObject,
  kList,
  kTexts,       ///< a text, or a list of texts
  kTextOrList,  ///< a text, or a list
  kAny,         ///< any value
  kPrompt,      ///< a text, a list of texts, a list of tokens, or a list of such lists
};

/// One field of a request: what it may be. The same rows check requests, and describe them in /openapi.json.
struct Field {
  std::string_view name;
  FieldType type = FieldType::kText;
  std::string_view summary;
  bool required = false;
  double least = 0;            ///< of numbers; of lists and texts the number of items or bytes
  double most = 0;             ///< 0 with `least` 0: no limits
  std::string_view allowed{};  ///< of texts: the values, by "|"; empty: any
};

/// How a field's type is called in messages.
std::string_view type_name(FieldType type);

/// Parses a request's body: a JSON object, strictly: UTF-8, no key twice, not too deep.
Answer<Json> parse_body(std::string_view text);

/// Whether every field of the object is known, there if required, of its type and within its limits. Fields that are
/// null count as absent, and are taken out.
Answer<void> check_fields(Json& object, std::span<const Field> fields, std::string_view place = {});

/// The value of a checked field, or `otherwise` when it is absent.
template <typename T>
T value_of(const Json& object, std::string_view name, const T& otherwise) {
  const auto found = object.find(name);
  return found == object.end() ? otherwise : found->template get<T>();
}

/// A text or a list of texts of a checked field.
std::vector<std::string> texts_of(const Json& object, std::string_view name);

}  // namespace lamina::serve
