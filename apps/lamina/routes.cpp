#include "serve/routes.h"

#include <algorithm>
#include <memory>

#include "lamina/cli.h"
#include "lamina/commands.h"
#include "lamina/table.h"

namespace lamina::app {

namespace {

using core::ErrorCode;
using core::fail;
using core::Status;
using serve::Field;
using serve::Route;

std::span<const Field> fields_of(const Route& route) {
  return route.fields == nullptr ? std::span<const Field>() : route.fields();
}

/// "1 to 16", a list of values, or nothing.
std::string limits_of(const Field& field) {
  if (!field.allowed.empty()) {
    std::string values(field.allowed);
    for (size_t at = 0; (at = values.find('|', at)) != std::string::npos;) values.replace(at, 1, ", ");
    return values;
  }
  if (field.least == 0 && field.most == 0) return "";
  const bool number = field.type == serve::FieldType::kInteger || field.type == serve::FieldType::kNumber;
  const bool list = field.type == serve::FieldType::kList || field.type == serve::FieldType::kObject;
  return fmt::format("{} to {}{}", field.least, field.most, number ? "" : list ? " items" : " bytes or items");
}

nlohmann::ordered_json route_json(const Route& route) {
  nlohmann::ordered_json fields = nlohmann::ordered_json::array();
  for (const Field& field : fields_of(route)) {
    fields.push_back({{"name", field.name},
                      {"type", serve::type_name(field.type)},
                      {"required", field.required},
                      {"limits", limits_of(field)},
                      {"summary", field.summary}});
  }
  return {{"method", route.method},
          {"path", route.path},
          {"summary", route.summary},
          {"key", !route.open},
          {"fields", std::move(fields)}};
}

void print_routes(bool json) {
  Table table({"METHOD", "PATH", "WHAT IT GIVES"});
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const Route& route : serve::routes()) {
    table.add({std::string(route.method), std::string(route.path), std::string(route.summary)});
    all.push_back(route_json(route));
  }
  if (json) return print_json({{"routes", std::move(all)}});
  fmt::print("{}", table.text());
}

Status print_route(const std::string& path, bool json) {
  const auto all = serve::routes();
  const auto found = std::ranges::find(all, path, &Route::path);
  if (found == all.end())
    return fail(ErrorCode::kInvalid, "routes", "\"{}\" is no route; `lamina routes` lists them", path);
  if (json) {
    print_json(route_json(*found));
    return {};
  }
  fmt::print("{} {}: {}\n", found->method, found->path, found->summary);
  Table table({"FIELD", "TYPE", "LIMITS", "MEANING"});
  for (const Field& field : fields_of(*found)) {
    table.add({std::string(field.name) + (field.required ? " *" : ""), std::string(serve::type_name(field.type)),
               limits_of(field), std::string(field.summary)});
  }
  if (found->fields != nullptr) fmt::print("\n{}\n* must be there\n", table.text());
  return {};
}

}  // namespace

void add_routes(CLI::App& app, int& exit_status) {
  struct Options {
    std::string path;
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = add_command(app, "routes", "list what `lamina serve` answers, and the fields that it takes",
                                  "  lamina routes\n"
                                  "  lamina routes /v1/chat/completions");
  command->add_option("PATH", options->path, "one route, with its fields");
  add_json_option(*command, options->json);
  command->callback([options, &exit_status] {
    if (options->path.empty()) {
      print_routes(options->json);
      exit_status = 0;
    } else {
      exit_status = exit_status_of(print_route(options->path, options->json));
    }
  });
}

}  // namespace lamina::app
