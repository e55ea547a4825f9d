#include "compress/take_out.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <functional>
#include <map>

#include "models/resolver.h"
#include "models/same_meaning.h"
#include "models/structure.h"

namespace lamina::compress {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;
using format::Container;
using models::ResolvedModel;
using models::Structure;
using nlohmann::json;

namespace {

constexpr std::string_view kExpert = "{expert}";
/// What a matrix's own name may be followed by.
constexpr std::array<std::string_view, 3> kSuffixes{"", layers::kFactorIn, layers::kFactorOut};

/// Settings by key: what they become.
using Changes = std::map<std::string, json>;

class TakeOut {
 public:
  TakeOut(ModelEdit& edit, const std::vector<std::set<std::string>>& parts, std::vector<std::string>& notes)
      : edit_(edit), parts_(parts), notes_(notes), container_(edit.model().files().container()) {}

  Status run();

 private:
  Status choose();
  std::vector<std::string> keys_of(const json& definition) const;
  void shorten(const std::string& key, bool indices, Changes& changes) const;
  Changes shorter_settings(bool renumber) const;
  Structure structure(bool numbers) const;
  json config_with(const Changes& changes, const Structure& structure) const;
  Status compare(const json& config) const;
  Status settle();
  void rename_tensors(const ResolvedModel& after);
  Status apply();
  std::string place() const { return edit_.model().files().path().string(); }

  ModelEdit& edit_;
  const std::vector<std::set<std::string>>& parts_;
  std::vector<std::string>& notes_;
  Container container_;
  ResolvedModel before_;
  std::vector<int> kept_;
  std::vector<json> wanted_;  ///< records of the kept layers, without the parts that go
  json config_;
  Changes changes_;
  Structure structure_;
  std::map<std::string, std::string> names_;  ///< of tensors that stay
};

/// The record without parts of those roles.
json without(json record, const std::set<std::string>& roles) {
  json order = json::array();
  for (const json& role : record["order"]) {
    if (!roles.contains(role.get<std::string>())) order.push_back(role);
  }
  for (const std::string& role : roles) record.erase(role);
  record["order"] = std::move(order);
  return record;
}

Status TakeOut::choose() {
  if (edit_.model().encoder() != nullptr) {
    return fail(ErrorCode::kUnsupported, place(),
                "layers of an encoder-decoder cannot be taken out of its files; drop them when it runs");
  }
  LAMINA_ASSIGN(before_, models::resolve(edit_.architecture(), edit_.model().files()));
  if (!before_.structure.shares.empty()) {
    return fail(ErrorCode::kUnsupported, place(), "its layers share matrices; take layers out before they are tied");
  }
  for (size_t i = 0; i < before_.layers.size(); ++i) {
    json record = without(before_.layers[i], parts_[i]);
    if (record["order"].empty()) continue;
    kept_.push_back(static_cast<int>(i));
    wanted_.push_back(std::move(record));
  }
  if (kept_.empty()) return fail(ErrorCode::kInvalid, place(), "no layer is left; keep at least one");
  return {};
}

/// The keys of a setting that the configuration has.
std::vector<std::string> TakeOut::keys_of(const json& definition) const {
  std::vector<std::string> out;
  const auto keys = definition.find(models::container_name(container_));
  if (keys == definition.end()) return out;
  for (const json& key : keys->is_array() ? *keys : json::array({*keys})) {
    std::string name = key.get<std::string>();
    models::replace_all(name, "{arch}", edit_.config().value("general.architecture", ""));
    if (!models::config_value(edit_.config(), container_, name).is_null()) out.push_back(std::move(name));
  }
  return out;
}

/// A list with a value for each layer, or one of layers, without those that go.
void TakeOut::shorten(const std::string& key, bool indices, Changes& changes) const {
  const json value = models::config_value(edit_.config(), container_, key);
  if (!value.is_array() || (!indices && value.size() != before_.layers.size())) return;
  json list = json::array();
  for (size_t i = 0; i < kept_.size(); ++i) {
    const auto old = static_cast<size_t>(kept_[i]);
    if (!indices) {
      list.push_back(value[old]);
    } else if (std::ranges::find(value, json(kept_[i])) != value.end()) {
      list.push_back(i);
    }
  }
  changes[key] = std::move(list);
}

/// `renumber`: lists of layers get the new numbers; else layers keep the numbers that rules know them by.
Changes TakeOut::shorter_settings(bool renumber) const {
  Changes changes;
  std::set<std::string> lists;
  for (const auto& [name, definition] : edit_.architecture().data["settings"].items()) {
    if (!definition.is_object()) continue;
    const bool list = definition.value("list", false);
    const json written = definition.value("write_as", json());
    const bool count = name == "layers" || written == "=layers";
    for (const std::string& key : keys_of(definition)) {
      if (count) changes[key] = kept_.size();
      // Layers that are there but do not run, which go with their tensors.
      if (written.is_number()) changes[key] = written;
      if (list) lists.insert(key);
      if (!list) shorten(key, false, changes);
      if (list && renumber && definition.value("indices", false)) shorten(key, true, changes);
    }
  }
  // Lists with a value for each layer that only other programs read.
  const std::string prefix = edit_.config().value("general.architecture", "") + ".";
  for (const auto& [key, value] : edit_.config().items()) {
    const bool own = container_ == Container::kGguf ? key.starts_with(prefix) : key.contains("layer");
    if (own && !lists.contains(key) && !changes.contains(key)) shorten(key, false, changes);
  }
  return changes;
}

Structure TakeOut::structure(bool numbers) const {
  Structure out;
  const Structure& before = before_.structure;
  for (size_t i = 0; i < kept_.size(); ++i) {
    const auto old = static_cast<size_t>(kept_[i]);
    if (numbers || !before.numbers.empty())
      out.numbers.push_back(before.numbers.empty() ? kept_[i] : before.numbers[old]);
    for (const auto& [role, layers] : before.without) {
      if (layers.contains(kept_[i])) out.without[role].insert(static_cast<int>(i));
    }
    for (const std::string& role : parts_[old]) {
      if (before_.layers[old].contains(role)) out.without[role].insert(static_cast<int>(i));
    }
  }
  return out;
}

json TakeOut::config_with(const Changes& changes, const Structure& structure) const {
  json config = edit_.config();
  for (const auto& [key, value] : changes) models::set_config_value(config, container_, key, value);
  models::write_structure(config, container_, structure);
  return config;
}

/// Whether each layer that stays means what it did.
Status TakeOut::compare(const json& config) const {
  const auto has = [this](const std::string& name) { return edit_.has(name); };
  LAMINA_ASSIGN(const ResolvedModel after, models::resolve(edit_.architecture(), {container_, config, place(), has}));
  if (after.layers.size() != kept_.size()) {
    return fail(ErrorCode::kUnsupported, place(), "its settings would say {} layers; {} are left", after.layers.size(),
                kept_.size());
  }
  LAMINA_CHECK_OK(models::check_same_layer(before_.embedding, after.embedding, "embedding", place()));
  for (size_t i = 0; i < kept_.size(); ++i) {
    const std::string name = fmt::format("layer {} as layer {}", kept_[i], i);
    LAMINA_CHECK_OK(models::check_same_layer(wanted_[i], after.layers[i], name, place()));
  }
  return {};
}

/// Finds settings that say the same of the layers that stay: in the family's words, or else with layers' old numbers.
Status TakeOut::settle() {
  for (const bool numbers : {false, true}) {
    if (numbers && kept_.size() == before_.layers.size()) break;
    changes_ = shorter_settings(!numbers && before_.structure.numbers.empty());
    structure_ = structure(numbers);
    config_ = config_with(changes_, structure_);
    const Status same = compare(config_);
    if (!same && !numbers) continue;
    LAMINA_CHECK_OK(same);
    if (numbers) {
      notes_.emplace_back(
          "the family tells layers apart by their numbers, which lamina.layers keeps; other programs, which do not "
          "read "
          "that, would take them for other layers");
    }
    return {};
  }
  return compare(config_);
}

/// Calls `meet` for names of tensors that stand at the same place of two records.
void pair_names(const json& from, const json& to, const std::function<void(std::string, std::string)>& meet) {
  if (from.is_string() && to.is_string()) return meet(from.get<std::string>(), to.get<std::string>());
  if (!from.is_object() || !to.is_object()) return;
  for (const auto& [key, value] : from.items()) {
    if (const auto other = to.find(key); other != to.end()) pair_names(value, *other, meet);
  }
}

std::string with_expert(const std::string& name, int64_t index) {
  std::string out = name;
  models::replace_all(out, kExpert, std::to_string(index));
  return out;
}

/// Fills names_: what the tensors of layers that stay are to be called.
void TakeOut::rename_tensors(const ResolvedModel& after) {
  const layers::Weights& weights = edit_.model().weights();
  const auto add = [&](const std::string& from, const std::string& to) {
    bool found = false;
    for (const std::string_view suffix : kSuffixes) {
      const std::string known = from + std::string(suffix);
      const std::string& file = weights.file_name(known);
      if (!edit_.has(file)) continue;
      names_[file] = from == to ? file : to + std::string(suffix);
      found = true;
    }
    return found;
  };
  const auto meet = [&](const std::string& from, const std::string& to) {
    if (!from.contains(kExpert)) {
      add(from, to);
      return;
    }
    for (int64_t i = 0; add(with_expert(from, i), with_expert(to, i)); ++i) {
    }
  };
  for (size_t i = 0; i < kept_.size(); ++i) pair_names(wanted_[i], after.layers[i], meet);
}

Status TakeOut::apply() {
  const auto has = [this](const std::string& name) { return edit_.has(name); };
  LAMINA_ASSIGN(const ResolvedModel after, models::resolve(edit_.architecture(), {container_, config_, place(), has}));
  rename_tensors(after);
  std::set<std::string> of_layers;
  for (const json& layer : before_.layers) {
    pair_names(layer, layer, [&](const std::string& name, const std::string&) {
      const layers::Weights& weights = edit_.model().weights();
      for (const std::string_view suffix : kSuffixes) of_layers.insert(weights.file_name(name + std::string(suffix)));
      for (int64_t i = 0; name.contains(kExpert) && edit_.has(weights.file_name(with_expert(name, i))); ++i)
        of_layers.insert(weights.file_name(with_expert(name, i)));
    });
  }
  std::vector<std::string> idle;
  for (const std::string& name : std::vector(edit_.names())) {
    const bool used = edit_.model().weights().used().contains(name);
    if (!used) idle.push_back(name);
    if (!used || (of_layers.contains(name) && !names_.contains(name))) LAMINA_CHECK_OK(edit_.remove(name));
  }
  if (!idle.empty()) notes_.push_back(fmt::format("not read by any layer, so not written: {}", fmt::join(idle, ", ")));
  LAMINA_CHECK_OK(edit_.rename(names_));
  for (const auto& [key, value] : changes_) edit_.set_config(key, value);
  for (const char* key :
       {"lamina.layers", "lamina.without.attn", "lamina.without.mixer", "lamina.without.cross", "lamina.without.mlp"}) {
    json value = models::config_value(config_, container_, key);
    if (value != models::config_value(edit_.config(), container_, key)) edit_.set_config(key, std::move(value));
  }
  edit_.keep_layers(kept_);
  return edit_.commit();
}

Status TakeOut::run() {
  LAMINA_CHECK_OK(choose());
  LAMINA_CHECK_OK(settle());
  return apply();
}

}  // namespace

Status take_out(ModelEdit& edit, const std::vector<std::set<std::string>>& parts, std::vector<std::string>& notes) {
  return TakeOut(edit, parts, notes).run();
}

}  // namespace lamina::compress
