#include <cmath>
#include <memory>
#include <string>

#include "lamina/cli.h"
#include "lamina/commands.h"
#include "lamina/table.h"
#include "recipe/technique.h"

namespace lamina::app {

namespace {

using core::ErrorCode;
using core::fail;
using core::Status;
using nlohmann::ordered_json;
using recipe::Technique;

struct TechniquesOptions {
  std::string name;
  bool json = false;
};

ordered_json to_json(const recipe::Parameter& parameter) {
  ordered_json out{{"name", parameter.name}, {"kind", recipe::parameter_kind_name(parameter.kind)}};
  if (std::isfinite(parameter.minimum)) out["minimum"] = parameter.minimum;
  if (std::isfinite(parameter.maximum)) out["maximum"] = parameter.maximum;
  if (!parameter.fallback.empty()) out["default"] = parameter.fallback;
  if (!parameter.words.empty()) out["words"] = parameter.words;
  out["about"] = parameter.doc;
  return out;
}

ordered_json to_json(const Technique& technique) {
  ordered_json out{{"name", technique.name},
                   {"place", recipe::place_name(technique.place)},
                   {"effect", recipe::effect_name(technique.effect)},
                   {"summary", technique.summary},
                   {"example", technique.example},
                   {"parameters", ordered_json::array()},
                   {"parts", technique.parts},
                   {"needs", ordered_json::array()},
                   {"conflicts", ordered_json::array()},
                   {"paper", technique.paper}};
  for (const recipe::Parameter& parameter : technique.parameters) out["parameters"].push_back(to_json(parameter));
  for (const recipe::Need need : technique.needs) out["needs"].push_back(recipe::need_name(need));
  for (const Technique& other : recipe::techniques()) {
    const std::string_view reason =
        &other == &technique ? std::string_view() : recipe::conflict_reason(technique, other);
    if (reason.empty()) continue;
    out["conflicts"].push_back(
        {{"place", recipe::place_name(other.place)}, {"technique", other.name}, {"reason", reason}});
  }
  return out;
}

/// "from 1 to 64, 8 by default"
std::string range_text(const recipe::Parameter& parameter) {
  std::string text(recipe::parameter_kind_name(parameter.kind));
  if (std::isfinite(parameter.minimum)) text += fmt::format(" from {}", parameter.minimum);
  if (std::isfinite(parameter.maximum)) text += fmt::format(" to {}", parameter.maximum);
  std::string words;
  for (const std::string_view word : parameter.words) words += (words.empty() ? ": " : ", ") + std::string(word);
  text += words;
  return parameter.fallback.empty() ? text + "; must be given"
                                    : text + fmt::format("; {} by default", parameter.fallback);
}

void print_details(const Technique& technique) {
  const ordered_json data = to_json(technique);
  std::vector<std::pair<std::string, std::string>> facts{{"Name", std::string(technique.name)},
                                                         {"Place", std::string(recipe::place_name(technique.place))},
                                                         {"What it does", std::string(technique.summary)},
                                                         {"Effect", std::string(recipe::effect_name(technique.effect))},
                                                         {"Example", std::string(technique.example)}};
  for (const recipe::Parameter& parameter : technique.parameters) {
    facts.emplace_back("Parameter", fmt::format("{}: {} ({})", parameter.name, parameter.doc, range_text(parameter)));
  }
  for (const auto& need : data["needs"]) facts.emplace_back("Needs", need.get<std::string>());
  for (const auto& conflict : data["conflicts"]) {
    facts.emplace_back("Conflict",
                       fmt::format("{} at {}: {}", conflict["technique"].get<std::string>(),
                                   conflict["place"].get<std::string>(), conflict["reason"].get<std::string>()));
  }
  if (!technique.paper.empty()) facts.emplace_back("Source", std::string(technique.paper));
  fmt::print("{}", facts_text(facts));
}

Status list_techniques(const TechniquesOptions& options) {
  std::vector<const Technique*> chosen;
  std::string known;
  for (const Technique& technique : recipe::techniques()) {
    if (options.name.empty() || technique.name == options.name) chosen.push_back(&technique);
    known += (known.empty() ? "" : ", ") + std::string(technique.name);
  }
  if (chosen.empty())
    return fail(ErrorCode::kInvalid, "techniques", "\"{}\" is unknown; one of {} expected", options.name, known);
  if (options.json) {
    ordered_json all = ordered_json::array();
    for (const Technique* technique : chosen) all.push_back(to_json(*technique));
    print_json({{"techniques", std::move(all)}});
    return {};
  }
  if (!options.name.empty()) {
    for (const Technique* technique : chosen) {
      if (technique != chosen.front()) fmt::print("\n");
      print_details(*technique);
    }
    return {};
  }
  Table table({"PLACE", "NAME", "EFFECT", "EXAMPLE", "WHAT IT DOES"});
  for (const Technique* technique : chosen) {
    table.add({std::string(recipe::place_name(technique->place)), std::string(technique->name),
               std::string(recipe::effect_name(technique->effect)), std::string(technique->example),
               std::string(technique->summary)});
  }
  fmt::print("{}", table.text());
  return {};
}

}  // namespace

void add_techniques(CLI::App& app, int& exit_status) {
  auto options = std::make_shared<TechniquesOptions>();
  CLI::App* command =
      add_command(app, "techniques", "list what a recipe can do to a model",
                  "  lamina techniques\n"
                  "  lamina techniques drop                     (parameters, needs, conflicts, source)\n"
                  "  lamina techniques --json");
  command->add_option("NAME", options->name, "one technique in full");
  add_json_option(*command, options->json);
  command->callback([options, &exit_status] { exit_status = exit_status_of(list_techniques(*options)); });
}

}  // namespace lamina::app
