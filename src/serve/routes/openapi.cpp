#include <algorithm>

#include "serve/routes.h"

namespace lamina::serve {

namespace {

Json type_schema(FieldType type) {
  Json text{{"type", "string"}};
  const Json tokens{{"type", "array"}, {"items", {{"type", "integer"}, {"minimum", 0}}}};
  const auto list_of = [](const Json& items) { return Json{{"type", "array"}, {"items", items}}; };
  switch (type) {
    case FieldType::kText:
      return text;
    case FieldType::kInteger:
      return {{"type", "integer"}};
    case FieldType::kNumber:
      return {{"type", "number"}};
    case FieldType::kFlag:
      return {{"type", "boolean"}};
    case FieldType::kObject:
      return {{"type", "object"}};
    case FieldType::kList:
      return {{"type", "array"}, {"items", Json::object()}};
    case FieldType::kTextOrList:
      return {{"oneOf", Json::array({text, {{"type", "array"}, {"items", Json::object()}}})}};
    case FieldType::kTexts:
      return {{"oneOf", Json::array({text, list_of(text)})}};
    case FieldType::kAny:
      return Json::object();
    case FieldType::kPrompt:
      return {{"oneOf", Json::array({text, list_of(text), tokens, list_of(tokens)})}};
  }
  return {};
}

Json field_schema(const Field& field) {
  Json schema = type_schema(field.type);
  schema["description"] = field.summary;
  if (field.least != 0 || field.most != 0) {
    const bool number = field.type == FieldType::kNumber || field.type == FieldType::kInteger;
    const bool list = field.type == FieldType::kList;
    const auto as_number = [&](double value) {
      return field.type == FieldType::kNumber ? Json(value) : Json(static_cast<int64_t>(value));
    };
    if (number || list) {
      schema[number ? "minimum" : "minItems"] = as_number(field.least);
      schema[number ? "maximum" : "maxItems"] = as_number(field.most);
    }
  }
  for (std::string_view rest = field.allowed; !rest.empty();) {
    const size_t end = std::min(rest.find('|'), rest.size());
    schema["enum"].push_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  if (!field.required) schema["nullable"] = true;
  if (!field.required && schema.contains("enum")) schema["enum"].push_back(nullptr);
  return schema;
}

Json body_schema(std::span<const Field> fields) {
  Json properties = Json::object();
  Json required = Json::array();
  for (const Field& field : fields) {
    properties[field.name] = field_schema(field);
    if (field.required) required.push_back(field.name);
  }
  Json schema{{"type", "object"}, {"properties", std::move(properties)}, {"additionalProperties", false}};
  if (!required.empty()) schema["required"] = std::move(required);
  return schema;
}

/// What an answer is that does not stream.
std::string_view type_of(const Route& route) {
  if (route.path == "/") return "text/html";
  return route.path == "/metrics" ? "text/plain" : "application/json";
}

Json operation(const Route& route) {
  const Json error{{"$ref", "#/components/responses/Error"}};
  Json content{{type_of(route), {{"schema", Json::object()}}}};
  const bool streams =
      route.fields != nullptr && std::ranges::find(route.fields(), "stream", &Field::name) != route.fields().end();
  if (streams) content["text/event-stream"] = {{"schema", {{"type", "string"}}}};
  Json out{{"summary", route.summary},
           {"responses", {{"200", {{"description", "the answer"}, {"content", std::move(content)}}}}}};
  out["responses"]["default"] = error;
  if (route.fields != nullptr) {
    out["requestBody"] = {{"required", true},
                          {"content", {{"application/json", {{"schema", body_schema(route.fields())}}}}}};
  }
  if (route.path.contains("{id}")) {
    out["parameters"] =
        Json::array({{{"name", "id"}, {"in", "path"}, {"required", true}, {"schema", {{"type", "string"}}}}});
  }
  if (route.open) out["security"] = Json::array();
  return out;
}

}  // namespace

Answer<Reply> answer_openapi(Call& /*call*/) {
  Json paths = Json::object();
  for (const Route& route : routes()) {
    const std::string_view method = route.method == "GET" ? "get" : route.method == "DELETE" ? "delete" : "post";
    paths[route.path][method] = operation(route);
  }
  const Json nullable_text{{"type", "string"}, {"nullable", true}};
  const Json error_schema{{"type", "object"},
                          {"required", Json::array({"error"})},
                          {"properties",
                           {{"error",
                             {{"type", "object"},
                              {"required", Json::array({"message", "type"})},
                              {"properties",
                               {{"message", {{"type", "string"}}},
                                {"type", {{"type", "string"}}},
                                {"param", nullable_text},
                                {"code", nullable_text}}}}}}}};
  return json_reply({{"openapi", "3.0.3"},
                     {"info", {{"title", "Lamina"}, {"version", "1"}}},
                     {"security", Json::array({{{"key", Json::array()}}})},
                     {"paths", std::move(paths)},
                     {"components",
                      {{"securitySchemes", {{"key", {{"type", "http"}, {"scheme", "bearer"}}}}},
                       {"responses",
                        {{"Error",
                          {{"description", "why there is no answer"},
                           {"content", {{"application/json", {{"schema", error_schema}}}}}}}}}}}});
}

}  // namespace lamina::serve
