#include "embed/rerank.h"

namespace lamina::embed {

core::Result<std::vector<float>> rerank(run::Runner& runner, std::span<const Input> inputs) {
  const layers::Head& head = runner.model().head();
  if (!head.labels() || head.outputs() != 1) {
    return core::fail(core::ErrorCode::kUnsupported, runner.model().files().path().string(),
                      "no sequence-classification head with one label, which a reranker needs");
  }
  std::vector<float> scores(inputs.size());
  LAMINA_CHECK_OK(run_inputs(runner, inputs, true, [&](std::span<const size_t> order, std::span<const float> logits) {
    for (size_t i = 0; i < order.size(); ++i) scores[order[i]] = logits[i];
  }));
  return scores;
}

}  // namespace lamina::embed
