#include "models/same_meaning.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>

#include "layers/border.h"

namespace lamina::models {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;
using nlohmann::json;

namespace {

/// Fields that say how a container stores a tensor, not what the layer does.
constexpr std::array<std::string_view, 19> kStorage{
    "weight",         "bias",        "factors", "long_factors", "rows",      "ordering", "present",
    "tied",           "input_first", "offset",  "logarithm",    "otherwise", "scales",   "router",
    "selection_bias", "keys",        "values",  "sinks",        "optional"};

/// What the rule of llama3 scaling is made of, beside its name.
constexpr std::array<std::string_view, 5> kRule{"kind", "factor", "original_context", "low_frequency",
                                                "high_frequency"};

constexpr float kRounding = 3e-7F;  // a number that went through float32 and a product or two

/// Several names may stand for one activation.
bool same_activation(const json& a, const json& b) {
  if (!a.is_string() || !b.is_string()) return false;
  const auto first = layers::find_activation(a.get<std::string>(), "");
  const auto second = layers::find_activation(b.get<std::string>(), "");
  return first && second && *first == *second;
}

/// Whether one side keeps the rule of llama3 scaling and the other a tensor of the divisors that it makes.
bool same_factors(const json& a, const json& b) {
  const auto rule = [](const json& rope) { return rope.value("kind", "") == "llama3"; };
  const auto tensor = [](const json& rope) { return rope.value("factors", json()).is_string(); };
  return (rule(a) && !rule(b) && tensor(b)) || (rule(b) && !rule(a) && tensor(a));
}

/// Limits of numbers above 0 that all float32 numbers are within.
bool is_unlimited(const json& limits) {
  if (!limits.is_array() || limits.empty()) return true;
  return limits.size() == 2 && limits[0].is_number() && limits[1].is_number() && limits[0].get<double>() <= 0 &&
         limits[1].get<double>() >= static_cast<double>(std::numeric_limits<float>::max());
}

/// Whether the one has a record that the other, without it, need not have.
bool may_lack(const json& without, const json& with) {
  return without.is_null() && with.is_object() && with.value("optional", json()) == json(true);
}

/// Names of tensors have dots; no other text of a record has.
bool names_tensor(const json& value) {
  return value.is_string() && value.get_ref<const std::string&>().contains('.');
}

bool skipped(const std::string& key, const json& a, const json& b) {
  if (names_tensor(a) && names_tensor(b)) return true;
  // A router is a record with its own fields, or the name of a tensor.
  if (key == "router" && a.is_object() && b.is_object()) return false;
  return std::ranges::find(kStorage, key) != kStorage.end();
}

bool is_unscaled(const json& kind) {
  return kind.is_string() && (kind == "none" || kind == "default");
}

/// Compares what two records make the layer do; `place` names the record.
Status compare(const json& source, const json& target, const std::string& place, const std::string& file) {
  if (!source.is_object() || !target.is_object()) {
    if (same_value(source, target)) return {};
    return fail(ErrorCode::kUnsupported, file, "{} is {}; the other container can only say {}", place, source.dump(),
                target.dump());
  }
  std::set<std::string> keys;
  for (const json* node : {&source, &target}) {
    for (const auto& [key, value] : node->items()) keys.insert(key);
  }
  const bool rule = same_factors(source, target);
  for (const std::string& key : keys) {
    const json a = source.value(key, json());
    const json b = target.value(key, json());
    if (skipped(key, a, b) || (rule && std::ranges::find(kRule, key) != kRule.end())) continue;
    if (key == "activation" && same_activation(a, b)) continue;
    if (key == "kind" && is_unscaled(a) && is_unscaled(b)) continue;
    if (key == "limits" && is_unlimited(a) && is_unlimited(b)) continue;
    if (may_lack(a, b) || may_lack(b, a)) continue;
    LAMINA_CHECK_OK(compare(a, b, fmt::format("{}: {}", place, key), file));
  }
  return {};
}

/// Windows as wide as the context change nothing.
void drop_idle_windows(json& layer, const json& context) {
  for (auto& [role, part] : layer.items()) {
    if (!part.is_object() || !part.contains("window")) continue;
    const json window = part["window"];
    const bool idle =
        window.is_null() || (window.is_number() && context.is_number() &&
                             (window.get<double>() == 0 || window.get<double>() >= context.get<double>()));
    if (idle) part["window"] = 0;
  }
}

}  // namespace

bool same_value(const json& a, const json& b) {
  const auto number = [](const json& value) {
    return value.is_boolean() ? static_cast<float>(value.get<bool>()) : value.get<float>();
  };
  const auto counts = [](const json& value) { return value.is_number() || value.is_boolean(); };
  if (counts(a) && counts(b)) {
    const float first = number(a);
    const float second = number(b);
    if (first == second) return true;
    const bool whole = first == std::floor(first) && second == std::floor(second);
    return !whole && std::fabs(first - second) <= kRounding * std::fabs(first);
  }
  if (a.is_array() && b.is_array()) {
    return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), same_value);
  }
  return a == b;
}

Status check_same_meaning(const ResolvedModel& source, const ResolvedModel& target, const std::string& file) {
  if (source.layers.size() != target.layers.size() || source.repeat != target.repeat) {
    return fail(ErrorCode::kUnsupported, file, "has {} layers; the other container would say {}", source.layers.size(),
                target.layers.size());
  }
  const json context = source.settings.value("context", json());
  LAMINA_CHECK_OK(compare(context, target.settings.value("context", json()), "context", file));
  LAMINA_CHECK_OK(compare(source.embedding, target.embedding, "embedding", file));
  for (size_t i = 0; i < source.layers.size(); ++i) {
    json own = source.layers[i];
    json other = target.layers[i];
    drop_idle_windows(own, context);
    drop_idle_windows(other, context);
    LAMINA_CHECK_OK(compare(own, other, fmt::format("layer {}", i), file));
  }
  return {};
}

Status check_same_layer(const json& source, const json& target, const std::string& place, const std::string& file) {
  return compare(source, target, place, file);
}

Result<size_t> find_same_head(const ResolvedModel& source, size_t index, const ResolvedModel& target,
                              const std::string& file) {
  const json& own = source.heads[index];
  Status fault = fail(ErrorCode::kUnsupported, file, "the head has no place in the other container");
  for (size_t i = 0; i < target.heads.size(); ++i) {
    const json& head = target.heads[i];
    if (head.contains("present") && !head["present"].is_string()) continue;
    if (own.contains("weight") && !head.value("weight", json()).is_string()) continue;
    const Status same = compare(own, head, "head", file);
    if (same) return i;
    fault = same;
  }
  return std::unexpected(fault.error());
}

}  // namespace lamina::models
