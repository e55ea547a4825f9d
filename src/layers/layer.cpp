#include "layers/layer.h"

namespace lamina::layers {

using core::ErrorCode;
using core::fail;
using core::Result;

Result<Layer> Layer::make(int index, Record record, BuildContext& context) {
  Layer layer;
  layer.index = index;
  LAMINA_ASSIGN(const std::string residual, record.text("residual"));
  if (residual != "sequential" && residual != "parallel") {
    return fail(ErrorCode::kInvalid, record.place(), "residual \"{}\" is unknown; sequential or parallel expected",
                residual);
  }
  layer.parallel = residual == "parallel";
  context.weights.take_new_names();
  LAMINA_ASSIGN(const std::vector<std::string> order, record.texts("order"));
  for (const std::string& role : order) {
    context.weights.enter(index, role);
    LAMINA_ASSIGN(Record part, record.child(role));
    LAMINA_ASSIGN(const std::string kind, part.text("kind"));
    LAMINA_ASSIGN(std::unique_ptr<Sublayer> sublayer, make_sublayer(kind, part, context));
    LAMINA_CHECK_OK(part.done());
    layer.parts.push_back(
        {.role = role, .kind = kind, .sublayer = std::move(sublayer), .tensors = context.weights.take_new_names()});
  }
  LAMINA_CHECK_OK(record.done());
  return layer;
}

int64_t Layer::bytes() const {
  int64_t bytes = 0;
  for (const Part& part : parts) {
    for (const Linear* linear : part.sublayer->linears()) bytes += linear->all_bytes();
  }
  return bytes;
}

int64_t Layer::parameters() const {
  int64_t count = 0;
  for (const Part& part : parts) {
    for (const Linear* linear : part.sublayer->linears()) count += linear->parameters();
  }
  return count;
}

}  // namespace lamina::layers
