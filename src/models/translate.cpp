#include "models/translate.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "layers/border.h"
#include "models/resolver.h"

namespace lamina::models {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;
using format::Container;
using nlohmann::json;

namespace {

/// Fields that say how a container stores a tensor, not what the layer does.
constexpr std::array<std::string_view, 9> kStorage{"weight",   "bias",    "factors", "long_factors", "rows",
                                                   "ordering", "present", "tied",    "input_first"};

std::string container_title(Container container) {
  return container == Container::kGguf ? "a GGUF file" : "a Hugging Face folder";
}

std::vector<std::string> keys_of(const json& definition, Container container) {
  std::vector<std::string> keys;
  if (!definition.is_object()) return keys;
  const auto found = definition.find(container_name(container));
  if (found == definition.end()) return keys;
  if (found->is_string()) keys.push_back(found->get<std::string>());
  if (found->is_array()) keys = found->get<std::vector<std::string>>();
  return keys;
}

/// Numbers are stored as float32 in GGUF: equal as such is equal.
bool same_value(const json& a, const json& b) {
  const auto number = [](const json& value) {
    return value.is_boolean() ? static_cast<float>(value.get<bool>()) : value.get<float>();
  };
  const auto counts = [](const json& value) { return value.is_number() || value.is_boolean(); };
  if (counts(a) && counts(b)) return number(a) == number(b);
  if (a.is_array() && b.is_array()) {
    return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), same_value);
  }
  return a == b;
}

/// Several names may stand for one activation.
bool same_activation(const json& a, const json& b) {
  if (!a.is_string() || !b.is_string()) return false;
  const auto first = layers::find_activation(a.get<std::string>(), "");
  const auto second = layers::find_activation(b.get<std::string>(), "");
  return first && second && *first == *second;
}

/// A number in the form of its file: whole ones as integers unless they are real, others with the digits of a float32.
json number_form(const json& value, bool real) {
  if (value.is_array()) {
    json out = json::array();
    for (const json& item : value) out.push_back(number_form(item, real));
    return out;
  }
  if (!value.is_number()) return value;
  const double number = value.get<double>();
  if (!real && number == std::floor(number) && std::fabs(number) < 9e15) return static_cast<int64_t>(number);
  return std::stod(fmt::format("{}", static_cast<float>(number)));
}

void put(json& config, const std::string& path, json value, Container container) {
  json* node = &config;
  size_t begin = 0;
  for (size_t end = path.find('.'); container == Container::kHuggingFace && end != std::string::npos;
       end = path.find('.', begin)) {
    node = &(*node)[path.substr(begin, end - begin)];
    begin = end + 1;
  }
  (*node)[path.substr(begin)] = std::move(value);
}

/// Carries settings from one container's keys to the other's.
class Translator {
 public:
  Translator(const Architecture& architecture, const format::ModelFiles& files, Container target)
      : target_(target),
        origin_{files.container(), files.config(), files.path().string()},
        source_(architecture, origin_) {}

  Status choose_family(const Architecture& own);
  Status write_settings(const TensorFacts& facts);
  Status write_constants();
  Translation take() { return std::move(out_); }
  ConfigSource written() const { return {target_, out_.config, origin_.place}; }
  Resolver& source() { return source_; }
  Translation& out() { return out_; }

 private:
  Result<json> value_of(const std::string& name, const TensorFacts& facts);
  Status write_setting(const std::string& name, const json& definition, const json& value);
  Status write_per_layer(const std::string& name, const json& definition, int64_t layers);
  Status check_allowed(const std::string& name, const json& definition, const json& value) const;
  bool implied(const std::string& name, const json& definition, const json& value) const;

  Container target_;
  ConfigSource origin_;
  Resolver source_;
  Translation out_;
  std::string prefix_;
};

Status Translator::choose_family(const Architecture& own) {
  const std::string container(container_name(target_));
  const json rules = own.write.value(container, json::object());
  const auto unsupported = [&] {
    return fail(ErrorCode::kUnsupported, origin_.place, "architecture {} cannot be written as {}", own.name,
                container_title(target_));
  };
  LAMINA_ASSIGN(const json name, source_.record(rules.value("family", json(own.name))));
  const auto all = architectures();
  const auto family = std::ranges::find(all, name.is_string() ? name.get<std::string>() : "", &Architecture::name);
  if (family == all.end()) return unsupported();
  const auto& names = target_ == Container::kGguf ? family->gguf : family->huggingface;
  if (names.empty()) return unsupported();
  if (target_ == Container::kHuggingFace && !family->write.contains("huggingface")) return unsupported();
  out_.family = &*family;
  out_.config = json::object();
  if (target_ == Container::kGguf) {
    prefix_ = names.front();
    out_.config["general.architecture"] = prefix_;
  } else {
    out_.config["architectures"] = json::array({names.front()});
  }
  return {};
}

Result<json> Translator::value_of(const std::string& name, const TensorFacts& facts) {
  if (name == "tied") return json(facts.tied);
  const json definition = out_.family->data["settings"].value(name, json::object());
  if (definition.is_object() && definition.contains("write_as")) return source_.record(definition["write_as"]);
  if (!source_.has_setting(name)) return json();
  return source_.setting(name);
}

/// Whether leaving the key out gives the same value.
bool Translator::implied(const std::string& name, const json& definition, const json& value) const {
  if (!definition.contains("default")) return false;
  const ConfigSource so_far{target_, out_.config, origin_.place};
  Resolver resolver(*out_.family, so_far);
  const auto fallback = resolver.setting(name);
  return fallback && same_value(*fallback, value);
}

Status Translator::check_allowed(const std::string& name, const json& definition, const json& value) const {
  const json allowed = definition.value("allowed", json::object()).value(container_name(target_), json());
  if (!allowed.is_array() || std::ranges::find(allowed, value) != allowed.end()) return {};
  std::string list;
  for (const json& item : allowed) list += (list.empty() ? "" : ", ") + item.dump();
  return fail(ErrorCode::kUnsupported, origin_.place, "{} is {}; {} can say {}", name, value.dump(),
              container_title(target_), list);
}

Status Translator::write_setting(const std::string& name, const json& definition, const json& value) {
  const auto keys = keys_of(definition, target_);
  if (value.is_null() || keys.empty()) return {};
  const bool always = definition.value("always", false);
  if (implied(name, definition, value) && !always) return {};
  LAMINA_CHECK_OK(check_allowed(name, definition, value));
  std::string key = keys.front();
  replace_all(key, "{arch}", prefix_);
  const bool real = definition.value("real", false);
  put(out_.config, key, number_form(value, real), target_);
  if (real) out_.real_keys.insert(key);
  return {};
}

Status Translator::write_per_layer(const std::string& name, const json& definition, int64_t layers) {
  if (!source_.has_setting(name) || keys_of(definition, target_).empty()) return {};
  json values = json::array();
  bool all_implied = definition.contains("default");
  const ConfigSource so_far{target_, out_.config, origin_.place};
  Resolver resolver(*out_.family, so_far);
  for (int64_t layer = 0; layer < layers; ++layer) {
    LAMINA_ASSIGN(json value, source_.setting_at(name, layer));
    const auto fallback = resolver.setting_at(name, layer);
    all_implied = all_implied && fallback && same_value(*fallback, value);
    values.push_back(std::move(value));
  }
  return all_implied ? Status() : write_setting(name, definition, values);
}

/// Those without a default come first, then those whose default may follow from them, then lists with a value a layer.
Status Translator::write_settings(const TensorFacts& facts) {
  const json& settings = out_.family->data["settings"];
  for (const bool with_default : {false, true}) {
    for (const auto& [name, definition] : settings.items()) {
      if (!definition.is_object() || definition.value("per_layer", false)) continue;
      if (definition.contains("default") != with_default) continue;
      LAMINA_ASSIGN(const json value, value_of(name, facts));
      LAMINA_CHECK_OK(write_setting(name, definition, value));
    }
  }
  LAMINA_ASSIGN(const json layers, source_.setting("layers"));
  for (const auto& [name, definition] : settings.items()) {
    if (!definition.is_object() || !definition.value("per_layer", false)) continue;
    LAMINA_CHECK_OK(write_per_layer(name, definition, layers.get<int64_t>()));
  }
  const std::string key = target_ == Container::kGguf ? prefix_ + ".vocab_size" : "vocab_size";
  out_.config[key] = facts.vocabulary;
  return {};
}

Status Translator::write_constants() {
  const json rules = out_.family->write.value(container_name(target_), json::object());
  const json constants = rules.value("config", json::object());
  for (const auto& [name, value] : constants.items()) {
    std::string key = name;
    replace_all(key, "{arch}", prefix_);
    LAMINA_ASSIGN(json evaluated, source_.record(value));
    put(out_.config, key, std::move(evaluated), target_);
  }
  return {};
}

/// Compares what two records make the layer do; `place` names the record.
Status compare(const json& source, const json& target, const std::string& place, const std::string& file) {
  const auto differ = [&](const json& a, const json& b) {
    return fail(ErrorCode::kUnsupported, file, "{} is {}; the other container can only say {}", place, a.dump(),
                b.dump());
  };
  if (!source.is_object() || !target.is_object()) {
    return same_value(source, target) ? Status() : Status(differ(source, target));
  }
  std::set<std::string> keys;
  for (const json* node : {&source, &target}) {
    for (const auto& [key, value] : node->items()) keys.insert(key);
  }
  const bool norm = source.contains("epsilon");
  for (const std::string& key : keys) {
    if (std::ranges::find(kStorage, key) != kStorage.end()) continue;
    if (norm && key == "offset") continue;
    const json a = source.value(key, json());
    const json b = target.value(key, json());
    if (a.is_string() && b.is_string() && key == "router") continue;
    if (key == "activation" && same_activation(a, b)) continue;
    LAMINA_CHECK_OK(compare(a, b, fmt::format("{}: {}", place, key), file));
  }
  return {};
}

Status compare_models(const ResolvedModel& source, const ResolvedModel& target, const std::string& file) {
  if (source.layers.size() != target.layers.size() || source.repeat != target.repeat ||
      source.heads.size() != target.heads.size()) {
    return fail(ErrorCode::kUnsupported, file, "has {} layers; the other container would say {}", source.layers.size(),
                target.layers.size());
  }
  LAMINA_CHECK_OK(
      compare(source.settings.value("context", json()), target.settings.value("context", json()), "context", file));
  LAMINA_CHECK_OK(compare(source.embedding, target.embedding, "embedding", file));
  for (size_t i = 0; i < source.heads.size(); ++i) {
    LAMINA_CHECK_OK(compare(source.heads[i], target.heads[i], "head", file));
  }
  for (size_t i = 0; i < source.layers.size(); ++i) {
    LAMINA_CHECK_OK(compare(source.layers[i], target.layers[i], fmt::format("layer {}", i), file));
  }
  return {};
}

}  // namespace

Result<Translation> translate(const Architecture& architecture, const format::ModelFiles& files, Container target,
                              const TensorFacts& facts) {
  Translator translator(architecture, files, target);
  LAMINA_CHECK_OK(translator.choose_family(architecture));
  LAMINA_CHECK_OK(translator.write_constants());
  LAMINA_CHECK_OK(translator.write_settings(facts));
  Translation out = translator.take();
  LAMINA_ASSIGN(out.resolved, resolve(*out.family, ConfigSource{target, out.config, files.path().string()}));
  LAMINA_ASSIGN(const ResolvedModel own, resolve(architecture, files));
  LAMINA_CHECK_OK(compare_models(own, out.resolved, files.path().string()));
  return out;
}

}  // namespace lamina::models
