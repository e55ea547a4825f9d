#include <algorithm>
#include <array>

#include "recipe/recipe.h"

namespace lamina::recipe {
namespace {

std::string print_range(const LayerRange& range) {
  if (range.last == LayerRange::kOpen) return fmt::format("{}-", range.first);
  if (range.last == range.first) return fmt::format("{}", range.first);
  return fmt::format("{}-{}", range.first, range.last);
}

std::string print_ranges(const std::vector<LayerRange>& ranges) {
  std::string text;
  for (size_t i = 0; i < ranges.size(); ++i) {
    const bool joined = i + 1 < ranges.size() && ranges[i + 1].beside;
    if (!text.empty()) text += ranges[i].beside ? '|' : ',';
    if (joined && !ranges[i].beside) text += '(';
    text += print_range(ranges[i]);
    if (ranges[i].beside && !joined) text += ')';
  }
  return text;
}

/// The shortest digits that read back as the same double, with a point so that they read back as a number.
std::string print_number(double number) {
  std::string text = fmt::format("{}", number);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

std::string print_text(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    if (c == '\n') {
      quoted += "\\n";
    } else if (c == '\t') {
      quoted += "\\t";
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

std::string print_arguments(const Step& step) {
  std::string text;
  for (const Argument& argument : step.arguments) {
    if (!text.empty()) text += ',';
    if (!argument.name.empty()) text += argument.name + '=';
    text += print(argument.value);
  }
  return text;
}

/// Whether the step can be written as a layer list without a name.
bool is_bare_route(const Step& step) {
  if (step.technique != "list" || step.arguments.empty()) return false;
  return std::ranges::all_of(step.arguments, [](const Argument& argument) {
    const Value& value = argument.value;
    const bool index = value.kind == Value::Kind::kInteger && value.integer >= 0 && value.integer <= kMaxLayerIndex;
    return argument.name.empty() && (index || value.kind == Value::Kind::kLayers);
  });
}

}  // namespace

bool Value::operator==(const Value& other) const {
  return kind == other.kind && integer == other.integer && number == other.number && text == other.text &&
         layers == other.layers && call == other.call;
}
bool Argument::operator==(const Argument& other) const {
  return name == other.name && value == other.value;
}
bool Step::operator==(const Step& other) const {
  return technique == other.technique && arguments == other.arguments;
}

std::string_view place_name(Place place) {
  static constexpr std::array<std::string_view, kPlaces> kNames{"weights", "route", "kv",    "prefill", "decode",
                                                                "draft",   "head",  "embed", "merge"};
  return kNames[static_cast<size_t>(place)];
}

std::string error_place(Position position) {
  return fmt::format("recipe, character {}", position.character);
}

std::string print(const Value& value) {
  switch (value.kind) {
    case Value::Kind::kInteger:
      return fmt::format("{}", value.integer);
    case Value::Kind::kNumber:
      return print_number(value.number);
    case Value::Kind::kWord:
      return value.text;
    case Value::Kind::kText:
      return print_text(value.text);
    case Value::Kind::kLayers:
      return print_ranges(value.layers);
    case Value::Kind::kCall: {
      // A call without arguments keeps its brackets: without them it would read back as a word.
      const Step& call = value.call.front();
      return call.technique + '(' + print_arguments(call) + ')';
    }
  }
  return {};
}

std::string print(const Step& step) {
  if (step.arguments.empty()) return step.technique;
  return step.technique + '(' + print_arguments(step) + ')';
}

std::string print(const Where& where) {
  if (where.place != Place::kWeights) return std::string(place_name(where.place));
  const bool all = where.layers == std::vector<LayerRange>{{0, LayerRange::kOpen, {}}};
  std::string text = all ? "L*" : 'L' + print_ranges(where.layers);
  if (!where.part.empty()) text += '.' + where.part;
  return text;
}

std::string print(const Recipe& recipe) {
  std::string text;
  for (const Clause& clause : recipe.clauses) {
    if (!text.empty()) text += ' ';
    text += print(clause.where) + ':';
    for (size_t i = 0; i < clause.steps.size(); ++i) {
      const Step& step = clause.steps[i];
      if (i > 0) text += '+';
      text += clause.where.place == Place::kRoute && is_bare_route(step) ? print_arguments(step) : print(step);
    }
  }
  return text;
}

}  // namespace lamina::recipe
