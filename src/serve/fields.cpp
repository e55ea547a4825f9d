#include "serve/fields.h"

#include <algorithm>
#include <set>

namespace lamina::serve {

namespace {

constexpr int kMaxDepth = 64;

/// Sees the events of a parse, and ends it where a document must not go on.
class Guard {
 public:
  struct Stop {
    std::string reason;
  };

  bool operator()(int depth, Json::parse_event_t event, Json& parsed) {
    if (depth > kMaxDepth) throw Stop{fmt::format("arrays and objects are nested deeper than {}", kMaxDepth)};
    if (event == Json::parse_event_t::object_start) {
      keys_.emplace_back();
    } else if (event == Json::parse_event_t::object_end) {
      keys_.pop_back();
    } else if (event == Json::parse_event_t::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys_.back().insert(key).second) throw Stop{fmt::format("key \"{}\" appears twice in one object", key)};
      if (keys_.back().size() > kMaxKeys) throw Stop{fmt::format("an object with more than {} fields", kMaxKeys)};
    }
    return true;
  }

 private:
  static constexpr size_t kMaxKeys = 4096;
  std::vector<std::set<std::string>> keys_;
};

bool is_integer(const Json& value) {
  if (value.is_number_unsigned()) return value.get<uint64_t>() <= uint64_t{INT64_MAX};
  return value.is_number_integer();
}

bool is_token_list(const Json& value) {
  return value.is_array() && std::ranges::all_of(value, is_integer);
}

bool is_text(const Json& value) {
  return value.is_string();
}

bool fits_type(const Json& value, FieldType type) {
  switch (type) {
    case FieldType::kText:
      return value.is_string();
    case FieldType::kInteger:
      return is_integer(value);
    case FieldType::kNumber:
      return value.is_number();
    case FieldType::kFlag:
      return value.is_boolean();
    case FieldType::kObject:
      return value.is_object();
    case FieldType::kList:
      return value.is_array();
    case FieldType::kTextOrList:
      return value.is_string() || value.is_array();
    case FieldType::kTexts:
      return value.is_string() || (value.is_array() && std::ranges::all_of(value, is_text));
    case FieldType::kAny:
      return true;
    case FieldType::kPrompt:
      return value.is_string() || (value.is_array() && (std::ranges::all_of(value, is_text) || is_token_list(value) ||
                                                        std::ranges::all_of(value, is_token_list)));
  }
  return false;
}

bool is_allowed(std::string_view allowed, std::string_view value) {
  while (!allowed.empty()) {
    const size_t end = std::min(allowed.find('|'), allowed.size());
    if (allowed.substr(0, end) == value) return true;
    allowed.remove_prefix(std::min(end + 1, allowed.size()));
  }
  return false;
}

/// What a message shows of a value that came from outside.
std::string excerpt(const Json& value) {
  constexpr size_t kMost = 60;
  std::string text = to_text(value);
  if (text.size() <= kMost) return text;
  text.resize(kMost);
  while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0xC0) == 0x80) text.pop_back();
  if (!text.empty() && static_cast<unsigned char>(text.back()) >= 0xC0) text.pop_back();
  return text + "...";
}

Answer<void> check_limits(const Json& value, const Field& field, const std::string& place) {
  if (!field.allowed.empty() && value.is_string() && !is_allowed(field.allowed, value.get_ref<const std::string&>())) {
    std::string values(field.allowed);
    for (size_t at = 0; (at = values.find('|', at)) != std::string::npos;) values.replace(at, 1, ", ");
    return refuse(400, place, "{}: found {}; one of {} expected", place, excerpt(value), values);
  }
  if (field.least == 0 && field.most == 0) return {};
  double size = 0;
  std::string_view unit;
  if (value.is_number()) {
    size = value.get<double>();
  } else if (value.is_string()) {
    size = static_cast<double>(value.get_ref<const std::string&>().size());
    unit = " bytes";
  } else {
    size = static_cast<double>(value.size());
    unit = " items";
  }
  if (size >= field.least && size <= field.most) return {};
  return refuse(400, place, "{}: found {}{}; {} to {} expected", place, size, unit, field.least, field.most);
}

}  // namespace

std::string_view type_name(FieldType type) {
  switch (type) {
    case FieldType::kText:
      return "a text";
    case FieldType::kInteger:
      return "a whole number";
    case FieldType::kNumber:
      return "a number";
    case FieldType::kFlag:
      return "true or false";
    case FieldType::kObject:
      return "an object";
    case FieldType::kList:
      return "a list";
    case FieldType::kTexts:
      return "a text or a list of texts";
    case FieldType::kTextOrList:
      return "a text or a list";
    case FieldType::kAny:
      return "a value";
    case FieldType::kPrompt:
      return "a text, a list of texts, a list of tokens or a list of lists of tokens";
  }
  return "";
}

Answer<Json> parse_body(std::string_view text) {
  Guard guard;
  Json body;
  try {
    body = Json::parse(text,
                       [&](int depth, Json::parse_event_t event, Json& parsed) { return guard(depth, event, parsed); });
  } catch (const Guard::Stop& stop) {
    return refuse(400, "", "the body: {}", stop.reason);
  } catch (const Json::exception& error) {
    const std::string_view what = error.what();
    const size_t start = what.find("] ");
    return refuse(400, "", "the body is not JSON: {}", what.substr(start == std::string_view::npos ? 0 : start + 2));
  }
  if (!body.is_object()) return refuse(400, "", "the body is {}; an object expected", body.type_name());
  return body;
}

Answer<void> check_fields(Json& object, std::span<const Field> fields, std::string_view place) {
  const std::string before = place.empty() ? "" : fmt::format("{}.", place);
  for (auto entry = object.begin(); entry != object.end();) {
    const std::string name = before + entry.key();
    const auto field = std::ranges::find(fields, entry.key(), &Field::name);
    if (field == fields.end()) {
      return refuse(400, name, "{}: this server does not support the field; the route's fields are in /openapi.json",
                    name);
    }
    if (entry.value().is_null()) {
      entry = object.erase(entry);
      continue;
    }
    if (!fits_type(entry.value(), field->type))
      return refuse(400, name, "{}: found {}; {} expected", name, excerpt(entry.value()), type_name(field->type));
    if (auto fits = check_limits(entry.value(), *field, name); !fits) return fits;
    ++entry;
  }
  for (const Field& field : fields) {
    if (field.required && !object.contains(field.name))
      return refuse(400, before + std::string(field.name), "{}{}: it is missing; {} expected", before, field.name,
                    type_name(field.type));
  }
  return {};
}

std::vector<std::string> texts_of(const Json& object, std::string_view name) {
  const auto found = object.find(name);
  if (found == object.end()) return {};
  if (found->is_string()) return {found->get<std::string>()};
  return found->get<std::vector<std::string>>();
}

}  // namespace lamina::serve
