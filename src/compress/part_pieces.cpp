#include "compress/part_pieces.h"

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <set>
#include <utility>

#include "layers/linear.h"
#include "models/architecture.h"
#include "models/resolver.h"

namespace lamina::compress {

using core::Result;
using nlohmann::json;

namespace {

/// Kinds of parts, and the keys of what reads their input and of what writes to the stream.
struct Kind {
  std::string_view name;
  std::array<std::string_view, 3> readers;
  std::string_view writer;
};
constexpr std::array kKinds{
    Kind{"attention", {"q", "k", "v"}, "o"},
    Kind{"latent_attention", {"q", "kv_a"}, "o"},
    Kind{"gated_mlp", {"gate", "up"}, "down"},
    Kind{"mlp", {"up"}, "down"},
    Kind{"moe", {"router", "gate", "up"}, "down"},
    Kind{"short_convolution", {"in"}, "out"},
    Kind{"state_space", {"in"}, "out"},
};

using Place = std::pair<int, std::string>;
/// The parts that name a tensor, by its name in the family.
using Users = std::map<std::string, std::set<Place>>;

/// What parts may share, or what lies beside their matrices.
constexpr std::array<std::string_view, 3> kBeside{"norm", "rope", "relative_bias"};

/// Calls `meet` for every tensor that the record names, but for those of kBeside.
void each_tensor(const ModelEdit& edit, const json& record, const std::function<void(const std::string&)>& meet) {
  if (record.is_string()) {
    auto name = record.get<std::string>();
    const std::string whole = name;
    models::replace_all(name, "{expert}", "0");
    const layers::Weights& weights = edit.model().weights();
    for (const std::string_view suffix : {std::string_view(), layers::kFactorIn}) {
      if (edit.has(weights.file_name(name + std::string(suffix)))) return meet(whole);
    }
    return;
  }
  if (!record.is_object()) return;
  for (const auto& [key, value] : record.items()) {
    if (std::ranges::find(kBeside, std::string_view(key)) == kBeside.end()) each_tensor(edit, value, meet);
  }
}

Users users_of(const ModelEdit& edit, const models::ResolvedModel& resolved) {
  Users users;
  for (size_t i = 0; i < resolved.layers.size(); ++i) {
    for (const auto& [role, record] : resolved.layers[i].items()) {
      each_tensor(edit, record, [&](const std::string& name) { users[name].emplace(static_cast<int>(i), role); });
    }
  }
  return users;
}

void append(std::vector<const Piece*>& all, const std::vector<const Piece*>& more) {
  all.insert(all.end(), more.begin(), more.end());
}

void fill(const ModelEdit& edit, const Users& users, PartPieces& part) {
  const std::string norm = part.norm_tensor();
  const std::string bias = norm.empty() ? "" : text_of(part.record["norm"], "bias");
  for (const Piece& piece : edit.pieces()) {
    const bool named = piece.from.tensor == norm || (!bias.empty() && piece.from.tensor == bias);
    if (!norm.empty() && named) part.norm.push_back(&piece);
  }
  const auto kind = std::ranges::find(kKinds, std::string_view(part.kind), &Kind::name);
  if (kind == kKinds.end()) {
    part.unknown = "what reads and writes the stream in a part of kind " + part.kind + " is not known";
    return;
  }
  for (std::string_view key : kind->readers) {
    if (key.empty()) continue;
    // Latent queries are made of a narrow row, which is made of the stream.
    if (key == "q" && part.record.contains("q_a") && part.record["q_a"].is_object()) key = "q_a";
    const std::vector<const Piece*> found = pieces_of(edit, part, key, true);
    if (found.empty()) part.unknown = "its matrices are another layer's too";
    append(part.readers, found);
  }
  part.writers = pieces_of(edit, part, kind->writer, false);
  if (part.writers.empty()) part.unknown = "its matrices are another layer's too";
  each_tensor(edit, part.record, [&](const std::string& name) {
    if (users.at(name).size() > 1) part.unknown = "its matrices are another layer's too";
  });
}

}  // namespace

std::string PartPieces::norm_tensor() const {
  return text_of(record.value("norm", json()), "weight");
}

double PartPieces::number(const char* field) const {
  const json value = record.value(field, json());
  return value.is_number() ? value.get<double>() : 0;
}

std::string text_of(const json& record, const char* field) {
  const json value = record.is_object() ? record.value(field, json()) : json();
  return value.is_string() ? value.get<std::string>() : std::string();
}

std::vector<const Piece*> pieces_of(const ModelEdit& edit, const PartPieces& part, std::string_view key, bool reads) {
  const std::string gate = text_of(part.record.value("shared", json()), "router");
  std::vector<const Piece*> out;
  for (const Piece& piece : edit.pieces()) {
    if (piece.layer != part.layer || piece.role != part.role || piece.key != key) continue;
    const std::string& name = piece.from.tensor;
    bool wanted = piece.matrix || (reads ? name == gate : name != gate);
    if (name.ends_with(layers::kFactorIn)) wanted = reads;
    if (name.ends_with(layers::kFactorOut)) wanted = !reads;
    if (wanted) out.push_back(&piece);
  }
  return out;
}

Result<std::vector<PartPieces>> list_parts(const ModelEdit& edit) {
  LAMINA_ASSIGN(const models::ResolvedModel resolved, models::resolve(edit.architecture(), edit.model().files()));
  const Users users = users_of(edit, resolved);
  std::vector<PartPieces> parts;
  for (size_t i = 0; i < resolved.layers.size(); ++i) {
    for (const json& role : resolved.layers[i]["order"]) {
      PartPieces part{.layer = static_cast<int>(i), .role = role.get<std::string>()};
      part.record = resolved.layers[i][part.role];
      part.kind = part.record["kind"].get<std::string>();
      fill(edit, users, part);
      parts.push_back(std::move(part));
    }
  }
  return parts;
}

}  // namespace lamina::compress
