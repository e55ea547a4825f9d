#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "embed/embedder.h"
#include "serve/channel.h"
#include "serve/worker.h"

namespace lamina::serve {

/// Texts that become vectors, or pairs that become scores (vectors of one number).
struct VectorJob {
  std::vector<embed::Input> inputs;  ///< each at most the runner's context and rows
  embed::EmbedOptions options{};     ///< of vectors
  int part = 0;
  std::shared_ptr<Channel> channel{};
};

/// Embeds or scores texts over one runner, job by job, about one batch of rows at a time.
class VectorWorker : public Worker {
 public:
  /// `settings` null: scores of pairs, else vectors. Both must outlive the worker.
  VectorWorker(run::Runner& runner, const embed::Settings* settings);

  void add(VectorJob job);
  bool step() override;
  WorkerCounts counts() const override;
  void end_rest() override;

 private:
  struct Active {
    VectorJob job;
    std::vector<std::vector<float>> vectors{};  ///< of the first inputs
  };

  core::Result<std::vector<std::vector<float>>> run(const Active& active, std::span<const embed::Input> inputs);

  run::Runner& runner_;
  const embed::Settings* settings_;
  std::deque<Active> jobs_;
  WorkerCounts counts_;
};

}  // namespace lamina::serve
