#include "models/translate.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "codec/codec.h"
#include "kernels/rope_factors.h"
#include "models/resolver.h"
#include "models/rope_factors.h"
#include "models/same_meaning.h"

namespace lamina::models {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;
using format::Container;
using nlohmann::json;

namespace {

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

const Architecture* find_by_name(const json& name) {
  const auto all = architectures();
  const auto found = std::ranges::find(all, name.is_string() ? name.get<std::string>() : "", &Architecture::name);
  return found == all.end() ? nullptr : &*found;
}

/// Carries the settings of one stack from one container's keys to the other's. `out` is shared by the stacks of a file.
class Translator {
 public:
  Translator(const Architecture& own, const format::ModelFiles& files, Container target, Translation& out)
      : own_(own),
        files_(files),
        target_(target),
        origin_{files.container(), files.config(), files.path().string(),
                [&files](const std::string& name) { return files.find(name) != nullptr; }},
        source_(own, origin_),
        out_(out) {}

  /// Chooses the family that the target names, and begins the configuration with it.
  Status choose_family();
  /// The stack is one more of a file whose family was chosen.
  void join(std::string prefix) {
    family_ = &own_;
    prefix_ = std::move(prefix);
  }
  Status write(const TensorFacts& facts);
  Result<ResolvedModel> resolve_written() const { return resolve(*family_, written()); }
  const std::string& prefix() const { return prefix_; }

 private:
  /// A value that does not come from the source's configuration.
  struct Found {
    json value;
    bool always = false;  ///< written whatever the default
  };

  Status read_tensors(const ResolvedModel& own);
  Status read_lists();
  Status read_factors(const json& rope);
  void forget_rule();
  Result<std::vector<float>> numbers_of(const std::string& tensor);
  Result<json> value_of(const std::string& name);
  Status write_setting(const std::string& name, const json& definition, const json& value);
  Status write_per_layer(const std::string& name, const json& definition, int64_t layers);
  Status write_settings();
  Status write_constants();
  Status check_allowed(const std::string& name, const json& definition, const json& value) const;
  bool implied(const std::string& name, const json& definition, const json& value) const;
  bool keeps_factors(const std::string& role) const;
  ConfigSource written() const { return {target_, out_.config, origin_.place, {}, known_}; }

  const Architecture& own_;
  const Architecture* family_ = nullptr;
  const format::ModelFiles& files_;
  Container target_;
  ConfigSource origin_;
  Resolver source_;
  Translation& out_;
  std::string prefix_;
  std::map<std::string, json> known_;  ///< settings that depend on the target's tensors
  std::map<std::string, Found> found_;
};

Status Translator::choose_family() {
  const std::string container(container_name(target_));
  const json rules = own_.write.value(container, json::object());
  LAMINA_ASSIGN(const json name, source_.record(rules.value("family", json(own_.name))));
  const Architecture* family = find_by_name(name);
  const auto* names = family == nullptr ? nullptr : target_ == Container::kGguf ? &family->gguf : &family->huggingface;
  const bool silent = target_ == Container::kHuggingFace && family != nullptr && !family->write.contains("huggingface");
  if (names == nullptr || names->empty() || silent) {
    return fail(ErrorCode::kUnsupported, origin_.place, "architecture {} cannot be written as {}", own_.name,
                container_title(target_));
  }
  family_ = family;
  out_.family = family;
  out_.config = json::object();
  if (target_ == Container::kGguf) {
    prefix_ = names->front();
    out_.config["general.architecture"] = prefix_;
  } else {
    out_.config["architectures"] = json::array({names->front()});
  }
  LAMINA_ASSIGN(const Structure structure, read_structure(origin_.container, files_.config(), origin_.place));
  write_structure(out_.config, target_, structure);
  return {};
}

Result<std::vector<float>> Translator::numbers_of(const std::string& tensor) {
  LAMINA_ASSIGN(const core::TensorView view, files_.weight(tensor));
  std::vector<float> numbers(static_cast<size_t>(view.elements()));
  codec::codec_of(*view.format)->decode(view.data, view.elements(), numbers.data());
  return numbers;
}

/// Lists that the source keeps in tensors.
Status Translator::read_lists() {
  for (const auto& [name, definition] : family_->data["settings"].items()) {
    if (!definition.is_object()) continue;
    if (definition.contains("present") && source_.has_setting(name)) {
      LAMINA_ASSIGN(known_[name], source_.setting(name));
    }
    const json tensor = definition.value("tensor", json::object()).value(container_name(origin_.container), json());
    if (tensor.is_string() && files_.find(tensor.get<std::string>()) != nullptr) {
      LAMINA_ASSIGN(found_[name].value, numbers_of(tensor.get<std::string>()));
      out_.said.insert(tensor.get<std::string>());
    }
    const json format = definition.value("format", json::object()).value(container_name(origin_.container), json());
    if (!format.is_array() || format.size() != 2) continue;
    const core::TensorView* view = files_.find(format[0].get<std::string>());
    if (view != nullptr && view->format->name == format[1].get<std::string>()) found_[name] = {format[1], true};
  }
  return {};
}

/// Whether the target has a tensor of the divisors of that part's rotary frequencies.
bool Translator::keeps_factors(const std::string& role) const {
  const json factors = family_->data.value(json::json_pointer("/layer/" + role + "/rope/factors"), json());
  return factors.is_object() && factors.contains(container_name(target_));
}

/// Divisors of the rotary frequencies that the target has no tensor for: the rule that makes them.
Status Translator::read_factors(const json& rope) {
  const auto name = rope.value("factors", "");
  if (out_.said.contains(name) || rope.value("kind", "") == "longrope") return {};
  LAMINA_ASSIGN(const std::vector<float> factors, numbers_of(name));
  const auto rule = find_llama3(factors, rope.value("base", 0.0));
  if (!rule) {
    return fail(ErrorCode::kUnsupported, origin_.place,
                "tensor {} has no place in {}: its divisors follow no llama3 scaling", name, container_title(target_));
  }
  found_["rope_kind"] = {rule->scaling, true};
  found_["rope_factor"] = {rule->factor, true};
  found_["rope_low_frequency"] = {rule->low_freq_factor, true};
  found_["rope_high_frequency"] = {rule->high_freq_factor, true};
  found_["rope_original_context"] = {rule->original_context, true};
  out_.said.insert(name);
  LAMINA_ASSIGN(const std::vector<float> made, kernels::llama3_factors(*rule));
  if (made != factors) {
    out_.notes.push_back(
        fmt::format("tensor {}: written as llama3 scaling of factor {} and context {}, which gives it again but for "
                    "the last digits",
                    name, rule->factor, rule->original_context));
  }
  return {};
}

/// The target keeps the divisors, not the rule.
void Translator::forget_rule() {
  found_["rope_kind"] = {"default"};
  found_["rope_factor"] = {1};
  if (const auto context = source_.setting("context")) found_["rope_original_context"] = {*context};
}

Status Translator::read_tensors(const ResolvedModel& own) {
  LAMINA_CHECK_OK(read_lists());
  for (const json& layer : own.layers) {
    for (const auto& [role, part] : layer.items()) {
      const json rope = part.is_object() ? part.value("rope", json()) : json();
      if (!rope.is_object()) continue;
      const json factors = rope.value("factors", json());
      if (factors.is_string() && files_.find(factors.get<std::string>()) != nullptr) return read_factors(rope);
      if (rope.value("kind", "") == "llama3" && keeps_factors(role)) {
        forget_rule();
        return {};
      }
    }
  }
  return {};
}

Result<json> Translator::value_of(const std::string& name) {
  if (const auto found = found_.find(name); found != found_.end()) return found->second.value;
  const json definition = family_->data["settings"].value(name, json::object());
  if (definition.is_object() && definition.contains("write_as")) return source_.record(definition["write_as"]);
  if (!source_.has_setting(name)) return json();
  return source_.setting(name);
}

/// Whether leaving the key out gives the same value.
bool Translator::implied(const std::string& name, const json& definition, const json& value) const {
  if (!definition.contains("default")) return false;
  const ConfigSource so_far = written();
  Resolver resolver(*family_, so_far);
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
  const auto found = found_.find(name);
  const bool always = definition.value("always", false) || (found != found_.end() && found->second.always);
  if (!always && implied(name, definition, value)) return {};
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
  bool all_implied = definition.contains("default") && !definition.value("always", false);
  const ConfigSource so_far = written();
  Resolver resolver(*family_, so_far);
  for (int64_t layer = 0; layer < layers; ++layer) {
    LAMINA_ASSIGN(json value, source_.setting_at(name, layer));
    const auto fallback = resolver.setting_at(name, layer);
    all_implied = all_implied && fallback && same_value(*fallback, value);
    values.push_back(std::move(value));
  }
  return all_implied ? Status() : write_setting(name, definition, values);
}

/// Those without a default come first, then those whose default may follow from them, then lists with a value a layer.
Status Translator::write_settings() {
  const json& settings = family_->data["settings"];
  for (const bool with_default : {false, true}) {
    for (const auto& [name, definition] : settings.items()) {
      if (!definition.is_object() || definition.value("per_layer", false)) continue;
      if (definition.contains("default") != with_default) continue;
      LAMINA_ASSIGN(const json value, value_of(name));
      LAMINA_CHECK_OK(write_setting(name, definition, value));
    }
  }
  LAMINA_ASSIGN(const json layers, source_.setting("layers"));
  for (const auto& [name, definition] : settings.items()) {
    if (!definition.is_object() || !definition.value("per_layer", false)) continue;
    LAMINA_CHECK_OK(write_per_layer(name, definition, layers.get<int64_t>()));
  }
  return {};
}

Status Translator::write_constants() {
  const json rules = family_->write.value(container_name(target_), json::object());
  const json constants = rules.value("config", json::object());
  for (const auto& [name, value] : constants.items()) {
    std::string key = name;
    replace_all(key, "{arch}", prefix_);
    LAMINA_ASSIGN(json evaluated, source_.record(value));
    put(out_.config, key, std::move(evaluated), target_);
  }
  return {};
}

Status Translator::write(const TensorFacts& facts) {
  LAMINA_ASSIGN(const ResolvedModel own, resolve(own_, files_));
  LAMINA_CHECK_OK(read_tensors(own));
  found_["tied"] = {facts.tied};
  LAMINA_CHECK_OK(write_constants());
  LAMINA_CHECK_OK(write_settings());
  const std::string key = target_ == Container::kGguf ? prefix_ + ".vocab_size" : "vocab_size";
  out_.config[key] = facts.vocabulary;
  return {};
}

}  // namespace

Result<Translation> translate(const Architecture& architecture, const format::ModelFiles& files, Container target,
                              const TensorFacts& facts) {
  const std::string file = files.path().string();
  Translation out;
  Translator stack(architecture, files, target, out);
  LAMINA_CHECK_OK(stack.choose_family());
  LAMINA_CHECK_OK(stack.write(facts));
  const Architecture* encoder = find_by_name(architecture.data.value("encoder", json()));
  if (encoder != nullptr) {
    Translator ahead(*encoder, files, target, out);
    ahead.join(stack.prefix());
    LAMINA_CHECK_OK(ahead.write(facts));
    LAMINA_ASSIGN(out.encoder, ahead.resolve_written());
    LAMINA_ASSIGN(const ResolvedModel own, resolve(*encoder, files));
    LAMINA_CHECK_OK(check_same_meaning(own, *out.encoder, file));
  }
  LAMINA_ASSIGN(out.resolved, stack.resolve_written());
  LAMINA_ASSIGN(const ResolvedModel own, resolve(architecture, files));
  LAMINA_CHECK_OK(check_same_meaning(own, out.resolved, file));
  if (facts.head) {
    LAMINA_ASSIGN(out.head, find_same_head(own, *facts.head, out.resolved, file));
    const json classes = out.family->write.value(container_name(target), json::object()).value("classes", json());
    if (classes.is_array() && *out.head < classes.size())
      out.config["architectures"] = json::array({classes[*out.head]});
  }
  return out;
}

}  // namespace lamina::models
