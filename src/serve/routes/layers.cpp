#include "serve/routes.h"

namespace lamina::serve {

namespace {

Json work_json(const LayerWork& work) {
  return {{"seconds", work.seconds}, {"bytes", work.bytes}};
}

/// Packed bytes of the matrices of a visit's part, or of the head.
int64_t weight_bytes(const models::Model& model, const PartWork& part) {
  int64_t bytes = 0;
  if (part.layer < 0) {
    if (part.part != "head") return 0;
    for (const layers::Linear* linear : model.head().linears()) bytes += linear->all_bytes();
    return bytes;
  }
  for (const auto& own : model.layers()[static_cast<size_t>(part.layer)].parts) {
    if (own.role != part.part) continue;
    for (const layers::Linear* linear : own.sublayer->linears()) bytes += linear->all_bytes();
  }
  return bytes;
}

/// Of a model that is not loaded the bytes of the weights are 0.
Json model_json(const ServedModel& model, bool loaded) {
  const LayerSums sums = model.watch->sums();
  const auto steps = [&](size_t kind) { return Json{{"steps", sums.steps[kind]}, {"seconds", sums.seconds[kind]}}; };
  Json parts = Json::array();
  for (const PartWork& part : sums.parts) {
    parts.push_back({{"visit", part.visit < 0 ? Json() : Json(part.visit)},
                     {"layer", part.layer < 0 ? Json() : Json(part.layer)},
                     {"part", part.part},
                     {"weight_bytes", loaded ? weight_bytes(*model.model, part) : 0},
                     {"reading", work_json(part.work[0])},
                     {"writing", work_json(part.work[1])}});
  }
  return {{"model", model.name},
          {"every", model.watch->every()},
          {"reading", steps(0)},
          {"writing", steps(1)},
          {"parts", std::move(parts)}};
}

}  // namespace

Answer<Reply> answer_layers(Call& call) {
  Json data = Json::array();
  for (size_t i = 0; i < call.service.models().size(); ++i) {
    const std::shared_ptr<void> pin = call.service.scheduler().keeper().pin_if_loaded(i);
    data.push_back(model_json(call.model(i), pin != nullptr));
  }
  return json_reply({{"object", "list"}, {"data", std::move(data)}});
}

}  // namespace lamina::serve
