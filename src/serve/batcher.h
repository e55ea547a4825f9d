#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "run/runner.h"
#include "serve/kept_texts.h"
#include "serve/pace.h"
#include "serve/sequence.h"
#include "serve/worker.h"

namespace lamina::serve {

/// Writes many texts at once over one runner. Every sequence has tokens known and tokens computed; each step hands out
/// a budget of rows, first to those that lack one token, so that a long prompt is read in pieces between them. When the
/// cache runs out, the youngest is set back: its keys and values are forgotten and computed again later, which changes
/// nothing in what it writes. Those of texts that have ended are kept while there is room, for texts that begin alike.
class Batcher : public Worker {
 public:
  /// Both must outlive the batcher.
  Batcher(run::Runner& runner, const PaceOptions& pace);

  void add(std::unique_ptr<Sequence> sequence);
  bool step() override;
  WorkerCounts counts() const override;
  void end_rest() override;

 private:
  /// Rows of a sequence in this step.
  struct Share {
    Sequence* sequence = nullptr;
    int64_t rows = 0;
  };

  void drop_cancelled();
  void admit();
  void plan_rows();
  int64_t plan_share(Sequence& sequence, int64_t wanted);
  bool set_back_youngest();
  void build_rows();
  void accept();
  void retire();
  bool open(Sequence& sequence);
  void leave(Sequence& sequence);
  void close(Sequence& sequence);
  int64_t missing(const Sequence& sequence) const;
  int64_t missing_blocks(const Sequence& sequence, int64_t tokens) const;
  bool planned(const Sequence& sequence) const;
  bool writes(const Sequence& sequence) const;

  run::Runner& runner_;
  Pace pace_;
  KeptTexts kept_;
  std::deque<std::unique_ptr<Sequence>> waiting_;   ///< by arrival
  std::vector<std::unique_ptr<Sequence>> running_;  ///< by arrival
  uint64_t arrivals_ = 0;
  int64_t free_blocks_ = 0;  ///< that the shares leave
  int64_t scored_rows_ = 0;  ///< of scored prompts, that the step has still room for
  std::vector<Share> shares_;
  std::vector<run::BatchRow> rows_;
  std::vector<float> logits_;
  WorkerCounts counts_;
};

}  // namespace lamina::serve
