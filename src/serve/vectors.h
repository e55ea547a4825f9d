#pragma once

#include <memory>
#include <string>
#include <vector>

#include "embed/embedder.h"
#include "serve/channel.h"
#include "serve/fair_shares.h"
#include "serve/worker.h"

namespace lamina::serve {

/// Texts that become vectors, or pairs that become scores (vectors of one number).
struct VectorJob {
  std::vector<embed::Input> inputs;  ///< each at most the runner's context and rows
  embed::EmbedOptions options{};     ///< of vectors
  std::string client{};              ///< who asks, for fair shares
  int part = 0;
  std::shared_ptr<Channel> channel{};
};

/// Embeds or scores texts over one runner, about one batch of rows at a time and less while others wait for tokens. The
/// client that has had least comes first.
class VectorWorker : public Worker {
 public:
  /// `settings` null: scores of pairs, else vectors. Both must outlive the worker.
  VectorWorker(run::Runner& runner, const embed::Settings* settings);

  void add(VectorJob job);
  bool step() override;
  void tell_ends() override;
  WorkerCounts counts() const override;
  WorkerLoad load() const override;
  void end_rest() override;

 private:
  struct Active {
    VectorJob job;
    uint64_t arrival = 0;
    std::vector<std::vector<float>> vectors{};  ///< of the first inputs
  };

  int64_t most_rows() const;
  void work_on(Active& active);
  core::Result<std::vector<std::vector<float>>> run(const Active& active, std::span<const embed::Input> inputs);

  run::Runner& runner_;
  const embed::Settings* settings_;
  std::vector<Active> jobs_;
  std::vector<std::pair<std::shared_ptr<Channel>, Event>> ends_;  ///< still to be told
  FairShares clients_;
  uint64_t arrivals_ = 0;
  double seconds_per_row_ = 0;  ///< 0: not yet known
  WorkerCounts counts_;
};

}  // namespace lamina::serve
