#include "lamina/serve_config.h"

#include <algorithm>

#include "lamina/cli.h"

namespace lamina::app {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;
using Json = nlohmann::ordered_json;

namespace {

/// "--api-key-file" is "api_key_file"; the models, which have no name on the command line, are "models".
std::string field_of(const CLI::Option& option) {
  if (option.get_positional()) return "models";
  std::string name = option.get_lnames().empty() ? "" : option.get_lnames().front();
  std::ranges::replace(name, '-', '_');
  return name;
}

/// Whether a file may hold it: neither the file itself nor what only prints.
bool is_field(const std::string& name) {
  return !name.empty() && name != "config" && name != "help";
}

Result<Json> parse(const std::string& path) {
  LAMINA_ASSIGN(const std::string text, read_file(path));
  std::set<std::string> names;
  std::string twice;
  Json parsed;
  try {
    parsed = Json::parse(text, [&](int depth, Json::parse_event_t event, Json& value) {
      if (depth == 1 && event == Json::parse_event_t::key && !names.insert(value.get<std::string>()).second)
        twice = value.get<std::string>();
      return true;
    });
  } catch (const Json::exception& error) {
    const std::string_view what = error.what();
    const size_t start = what.find("] ");
    return fail(ErrorCode::kInvalid, path, "is not JSON: {}",
                what.substr(start == std::string_view::npos ? 0 : start + 2));
  }
  if (!twice.empty()) return fail(ErrorCode::kInvalid, path, "has the field \"{}\" twice", twice);
  if (!parsed.is_object()) return fail(ErrorCode::kInvalid, path, "holds {}; an object expected", parsed.type_name());
  return parsed;
}

/// A value as the command line would have it.
Result<std::string> text_of(const Json& value, const std::string& place) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number()) return value.dump();
  if (value.is_boolean()) return std::string(value.get<bool>() ? "true" : "false");
  return fail(ErrorCode::kInvalid, place, "holds {}; a text, a number, true or false expected", value.type_name());
}

Status set_option(CLI::Option& option, const Json& value, const std::string& place) {
  const bool list = option.get_items_expected_max() > 1;
  if (value.is_array() && !list) return fail(ErrorCode::kInvalid, place, "holds a list; one value expected");
  std::vector<std::string> texts;
  for (const Json& one : value.is_array() ? value : Json::array({value})) {
    LAMINA_ASSIGN(std::string text, text_of(one, place));
    texts.push_back(std::move(text));
  }
  if (texts.empty()) return {};
  try {
    option.clear();
    option.add_result(texts);
    option.run_callback();
  } catch (const CLI::Error& error) {
    return fail(ErrorCode::kInvalid, place, "{}", error.what());
  }
  return {};
}

}  // namespace

std::set<std::string> given_options(const CLI::App& command) {
  std::set<std::string> given;
  for (const CLI::Option* option : command.get_options()) {
    if (option->count() > 0) given.insert(field_of(*option));
  }
  return given;
}

Result<Json> read_config(const std::string& path, CLI::App& command, const std::set<std::string>& given) {
  LAMINA_ASSIGN(Json fields, parse(path));
  for (const auto& [name, value] : fields.items()) {
    const auto options = command.get_options();
    const auto found =
        std::ranges::find_if(options, [&](const CLI::Option* one) { return is_field(name) && field_of(*one) == name; });
    if (found == options.end()) {
      std::string known;
      for (const CLI::Option* one : options) {
        if (is_field(field_of(*one))) known += (known.empty() ? "" : ", ") + field_of(*one);
      }
      return fail(ErrorCode::kInvalid, path, "\"{}\" is no option of this command; its fields are {}", name, known);
    }
    if (given.contains(name)) continue;
    LAMINA_CHECK_OK(set_option(**found, value, fmt::format("{}: {}", path, name)));
  }
  return fields;
}

std::vector<std::string> changed_fields(const Json& before, const Json& after) {
  std::vector<std::string> changed;
  for (const auto& [name, value] : after.items()) {
    if (!before.contains(name) || before[name] != value) changed.push_back(name);
  }
  for (const auto& [name, value] : before.items()) {
    if (!after.contains(name)) changed.push_back(name);
  }
  return changed;
}

}  // namespace lamina::app
