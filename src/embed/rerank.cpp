#include "embed/rerank.h"

#include <algorithm>

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

PairLengths cut_pair(int64_t first, int64_t second, int64_t room) {
  if (first + second <= room) return {first, second};
  const int64_t shorter = std::min({first, second, room / 2});
  return first > second ? PairLengths{room - shorter, shorter} : PairLengths{shorter, room - shorter};
}

}  // namespace lamina::embed
