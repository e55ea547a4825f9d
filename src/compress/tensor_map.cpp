#include "compress/tensor_map.h"

#include "compress/tensor_walk.h"

namespace lamina::compress {

using core::Result;
using core::Status;
using models::Architecture;
using models::ResolvedModel;
using nlohmann::json;

namespace {

/// One stack: its embedding and its layers. Recipes have no names for the layers of an encoder that a decoder reads.
Status walk_stack(TensorWalk& walk, const ResolvedModel& own, const ResolvedModel& target, bool named = true) {
  LAMINA_CHECK_OK(walk.walk(own.embedding, target.embedding, {.role = "embedding", .key = "embedding"}));
  for (size_t i = 0; i < own.layers.size(); ++i) {
    for (const auto& [role, record] : own.layers[i].items()) {
      if (!record.is_object()) continue;
      const json other = target.layers[i].value(role, json());
      WalkContext context{.layer = static_cast<int>(i), .role = role, .key = role, .part = record};
      if (!named) {
        context.layer = -1;
        context.role = "encoder";
      }
      LAMINA_CHECK_OK(walk.walk(record, other, context));
    }
  }
  return {};
}

Result<std::vector<Piece>> walk_model(const models::Model& model, const Architecture& architecture,
                                      const models::Translation* target, format::Container container) {
  TensorWalk walk(model, container);
  LAMINA_ASSIGN(const ResolvedModel own, models::resolve(architecture, model.files()));
  LAMINA_CHECK_OK(walk_stack(walk, own, target != nullptr ? target->resolved : own));
  if (const auto index = head_index(model, own)) {
    json head = own.heads[*index];
    if (model.head().tied()) head.erase("weight");
    const json& other = target != nullptr ? target->resolved.heads[*target->head] : own.heads[*index];
    LAMINA_CHECK_OK(walk.walk(head, other, {.role = "head", .key = "head"}));
  }
  if (const auto name = architecture.data.find("encoder"); name != architecture.data.end()) {
    for (const Architecture& encoder : models::architectures()) {
      if (encoder.name != name->get<std::string>()) continue;
      LAMINA_ASSIGN(const ResolvedModel ahead, models::resolve(encoder, model.files()));
      const ResolvedModel& other = target != nullptr ? *target->encoder : ahead;
      LAMINA_CHECK_OK(walk_stack(walk, ahead, other, false));
      LAMINA_CHECK_OK(walk.walk(ahead.heads[0], other.heads[0], {.role = "head", .key = "head"}));
    }
  }
  LAMINA_CHECK_OK(walk.check_complete(target != nullptr ? target->said : std::set<std::string>()));
  return walk.take();
}

}  // namespace

std::optional<size_t> head_index(const models::Model& model, const ResolvedModel& own) {
  for (size_t i = 0; i < own.heads.size(); ++i) {
    const auto present = own.heads[i].find("present");
    if (present == own.heads[i].end()) return i;
    if (present->is_string() && model.weights().has(present->get<std::string>())) return i;
  }
  return std::nullopt;
}

/// Turned rows lie side by side by pairs or half a turned part apart.
int64_t Piece::row(const Stored& stored, int64_t o) const {
  if (!stored.interleaved) return stored.rows.row(o);
  const int64_t d = o % head_size - turn_begin;
  if (d < 0 || d >= rotary) return stored.rows.row(o);
  const int64_t half = rotary / 2;
  return stored.rows.row(o - d + (d < half ? 2 * d : 2 * (d - half) + 1));
}

Result<std::vector<Piece>> map_tensors(const models::Model& model, const Architecture& architecture) {
  return walk_model(model, architecture, nullptr, model.files().container());
}

Result<std::vector<Piece>> map_tensors(const models::Model& model, const Architecture& architecture,
                                       const models::Translation& target, format::Container container) {
  return walk_model(model, architecture, &target, container);
}

}  // namespace lamina::compress
