#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "recipe/technique.h"

namespace lamina::recipe {
namespace {

using core::ErrorCode;
using core::fail;
using core::Status;

std::unexpected<core::Error> invalid(Position position, std::string message) {
  return fail(ErrorCode::kInvalid, error_place(position), "{}", message);
}

void append(std::string& list, std::string_view item) {
  if (!list.empty()) list += ", ";
  list += item;
}

/// How a place is written in a recipe.
std::string_view place_form(Place place) {
  return place == Place::kWeights ? "L..." : place_name(place);
}

std::unexpected<core::Error> unknown_technique(Place place, const Step& step) {
  std::string here;
  std::string elsewhere;
  std::string places;
  Place previous = Place::kHead;
  for (const Technique& row : techniques()) {
    if (row.place == place) append(here, row.name);
    if (row.name == step.technique) append(elsewhere, place_form(row.place));
    if (row.place != previous) append(places, place_form(row.place));
    previous = row.place;
  }
  std::string message = fmt::format("unknown technique '{}' at {}; ", step.technique, place_form(place));
  if (!elsewhere.empty()) message += fmt::format("it acts at {}; ", elsewhere);
  message += here.empty() ? fmt::format("places with techniques: {}", places) : fmt::format("known here: {}", here);
  return invalid(step.position, message);
}

std::string range_text(const Parameter& parameter) {
  const bool low = std::isfinite(parameter.minimum);
  const bool high = std::isfinite(parameter.maximum);
  if (low && high) return fmt::format("{} to {}", parameter.minimum, parameter.maximum);
  if (low) return fmt::format("at least {}", parameter.minimum);
  if (high) return fmt::format("at most {}", parameter.maximum);
  return "any";
}

bool kind_fits(ParameterKind kind, const Value& value) {
  using Kind = Value::Kind;
  const bool index = value.kind == Kind::kInteger && value.integer >= 0 && value.integer <= kMaxLayerIndex;
  switch (kind) {
    case ParameterKind::kInteger:
      return value.kind == Kind::kInteger;
    case ParameterKind::kNumber:
      return value.kind == Kind::kInteger || value.kind == Kind::kNumber;
    case ParameterKind::kWord:
      return value.kind == Kind::kWord;
    case ParameterKind::kText:
      return value.kind == Kind::kWord || value.kind == Kind::kText;
    case ParameterKind::kLayers:
      return index || value.kind == Kind::kLayers;
    case ParameterKind::kCall:
      return value.kind == Kind::kCall || value.kind == Kind::kWord;
  }
  return false;
}

Status check_value(const Technique& technique, const Parameter& parameter, const Argument& argument) {
  const Value& value = argument.value;
  const auto wrong = [&](std::string_view allowed) {
    return invalid(argument.position, fmt::format("{}: parameter {} is {}; {} expected", technique.name, parameter.name,
                                                  print(value), allowed));
  };
  if (!kind_fits(parameter.kind, value)) return wrong(parameter_kind_name(parameter.kind));
  if (parameter.kind == ParameterKind::kInteger || parameter.kind == ParameterKind::kNumber) {
    const double number = value.kind == Value::Kind::kInteger ? static_cast<double>(value.integer) : value.number;
    if (number < parameter.minimum || number > parameter.maximum) return wrong(range_text(parameter));
  }
  if (parameter.kind == ParameterKind::kWord && !parameter.words.empty() &&
      std::ranges::find(parameter.words, value.text) == parameter.words.end()) {
    std::string allowed;
    for (const std::string_view word : parameter.words) append(allowed, word);
    return wrong("one of " + allowed);
  }
  return {};
}

std::string parameter_list(const Technique& technique) {
  std::string list;
  for (const Parameter& parameter : technique.parameters) append(list, parameter.name);
  return list.empty() ? "none" : list;
}

/// The index of the parameter that the argument at `index` belongs to; parameters.size() if there is none.
size_t bind(const Technique& technique, const Step& step, size_t index) {
  const std::span<const Parameter> parameters = technique.parameters;
  const Argument& argument = step.arguments[index];
  if (!argument.name.empty()) {
    const auto named = std::ranges::find(parameters, std::string_view(argument.name), &Parameter::name);
    return static_cast<size_t>(named - parameters.begin());
  }
  for (size_t i = 0; i < std::min(index, parameters.size()); ++i) {
    if (parameters[i].kind == ParameterKind::kLayers) return i;
  }
  return std::min(index, parameters.size());
}

Status check_arguments(const Technique& technique, const Step& step) {
  const std::span<const Parameter> parameters = technique.parameters;
  std::vector<const Argument*> given(parameters.size());
  for (size_t i = 0; i < step.arguments.size(); ++i) {
    const Argument& argument = step.arguments[i];
    const size_t bound = bind(technique, step, i);
    if (bound == parameters.size()) {
      const std::string what = argument.name.empty() ? print(argument.value) : argument.name;
      return invalid(argument.position, fmt::format("{} has no parameter for '{}'; its parameters: {}", technique.name,
                                                    what, parameter_list(technique)));
    }
    const Argument* earlier = given[bound];
    if (earlier != nullptr && (!argument.name.empty() || !earlier->name.empty())) {
      return invalid(argument.position, fmt::format("{}: parameter {} is already given at character {}", technique.name,
                                                    parameters[bound].name, earlier->position.character));
    }
    given[bound] = &argument;
    LAMINA_CHECK_OK(check_value(technique, parameters[bound], argument));
  }
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (given[i] == nullptr && parameters[i].fallback.empty()) {
      return invalid(step.position, fmt::format("{}: parameter {} ({}) is missing", technique.name, parameters[i].name,
                                                parameters[i].doc));
    }
  }
  return {};
}

/// A clause with what comparing it to others needs.
struct Checked {
  const Clause* clause = nullptr;
  std::vector<const Technique*> techniques;
  std::vector<LayerRange> sorted;  ///< the selector's ranges in ascending order
};

bool starts_after(const LayerRange& range, const LayerRange& other) {
  return other.last != LayerRange::kOpen && range.first > other.last;
}

/// Checks that no layer is named twice, and sorts.
Status sort_selector(Checked& checked) {
  checked.sorted = checked.clause->where.layers;
  std::ranges::sort(checked.sorted, {},
                    [](const LayerRange& range) { return std::pair(range.first, range.position.character); });
  for (size_t i = 1; i < checked.sorted.size(); ++i) {
    const LayerRange& range = checked.sorted[i];
    const LayerRange& before = checked.sorted[i - 1];
    if (starts_after(range, before)) continue;
    const size_t character = std::max(range.position.character, before.position.character);
    return invalid({character}, fmt::format("layer {} is named twice in this selector", range.first));
  }
  return {};
}

bool is_sublayer(std::string_view part) {
  return part == "attn" || part == "mlp" || part == "cross";
}

/// The sublayer that a matrix of that name belongs to; empty when the name does not tell.
std::string_view sublayer_of(std::string_view part) {
  static constexpr std::pair<std::string_view, std::string_view> kMatrices[] = {
      {"q", "attn"}, {"k", "attn"}, {"v", "attn"}, {"o", "attn"}, {"gate", "mlp"}, {"up", "mlp"}, {"down", "mlp"}};
  const auto known = std::ranges::find(kMatrices, part, [](const auto& row) { return row.first; });
  return known == std::end(kMatrices) ? std::string_view() : known->second;
}

/// Whether two parts of one layer can have weights in common.
bool parts_meet(std::string_view a, std::string_view b) {
  if (a == b || a.empty() || b.empty()) return true;
  if (is_sublayer(a) == is_sublayer(b)) return false;
  const std::string_view owner = sublayer_of(is_sublayer(a) ? b : a);
  return owner.empty() || owner == (is_sublayer(a) ? a : b);
}

bool selectors_meet(const Checked& a, const Checked& b) {
  if (!parts_meet(a.clause->where.part, b.clause->where.part)) return false;
  size_t i = 0;
  size_t j = 0;
  while (i < a.sorted.size() && j < b.sorted.size()) {
    if (starts_after(a.sorted[i], b.sorted[j])) {
      ++j;
    } else if (starts_after(b.sorted[j], a.sorted[i])) {
      ++i;
    } else {
      return true;
    }
  }
  return false;
}

Status check_part(const Technique& technique, const Where& where) {
  if (technique.place != Place::kWeights || technique.parts.empty()) return {};
  if (std::ranges::find(technique.parts, std::string_view(where.part)) != technique.parts.end()) return {};
  std::string allowed;
  for (const std::string_view part : technique.parts) {
    append(allowed, part.empty() ? "a whole layer" : fmt::format(".{}", part));
  }
  return invalid(where.part_position, fmt::format("{} cannot act on {}; it acts on {}", technique.name,
                                                  where.part.empty() ? "a whole layer" : '.' + where.part, allowed));
}

core::Result<Checked> check_clause(const Clause& clause) {
  Checked result;
  result.clause = &clause;
  LAMINA_CHECK_OK(sort_selector(result));
  for (const Step& step : clause.steps) {
    const Technique* technique = find_technique(clause.where.place, step.technique);
    if (technique == nullptr) return unknown_technique(clause.where.place, step);
    LAMINA_CHECK_OK(check_part(*technique, clause.where));
    LAMINA_CHECK_OK(check_arguments(*technique, step));
    for (const Technique* earlier : result.techniques) {
      if (earlier == technique) return invalid(step.position, fmt::format("{} is given twice", step.technique));
      if (const std::string_view reason = conflict_reason(*earlier, *technique); !reason.empty()) {
        return invalid(step.position, fmt::format("{} does not go with {}: {}", step.technique, earlier->name, reason));
      }
    }
    result.techniques.push_back(technique);
  }
  return result;
}

/// Checks two clauses against each other; `b` stands later in the text.
Status check_pair(const Checked& a, const Checked& b) {
  const Where& where = b.clause->where;
  const size_t character = a.clause->where.position.character;
  const bool same_place = a.clause->where.place == where.place;
  if (same_place && where.place != Place::kWeights) {
    return invalid(where.position, fmt::format("{} is already set at character {}; join the techniques with '+'",
                                               place_name(where.place), character));
  }
  const bool weights = same_place && where.place == Place::kWeights;
  if (weights && !selectors_meet(a, b)) return {};
  for (size_t i = 0; i < b.techniques.size(); ++i) {
    const Technique& later = *b.techniques[i];
    const Position position = b.clause->steps[i].position;
    for (const Technique* earlier : a.techniques) {
      if (earlier == &later) {
        return invalid(position, fmt::format("{} already acts on some of these layers, from the clause at character {}",
                                             later.name, character));
      }
      if (const std::string_view reason = conflict_reason(*earlier, later); !reason.empty()) {
        return invalid(position, fmt::format("{} does not go with {} at character {}: {}", later.name, earlier->name,
                                             character, reason));
      }
    }
  }
  return {};
}

}  // namespace

core::Status validate(const Recipe& recipe) {
  std::vector<Checked> checked;
  for (const Clause& clause : recipe.clauses) {
    LAMINA_ASSIGN(Checked next, check_clause(clause));
    for (const Checked& earlier : checked) LAMINA_CHECK_OK(check_pair(earlier, next));
    checked.push_back(std::move(next));
  }
  return {};
}

}  // namespace lamina::recipe
