#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "run/router.h"
#include "run/runner.h"
#include "run/speculation.h"
#include "serve/fair_shares.h"
#include "serve/pace.h"
#include "serve/sequence.h"
#include "serve/worker.h"

namespace lamina::serve {

/// Writes many texts at once over one runner. Every sequence has tokens known and tokens computed; each step hands out
/// a budget of rows, first to those that lack one token, so that a long prompt is read in pieces between them. Those
/// who wait for a place or for rows get them by priority, by what their client has had, and by arrival. When the cache
/// runs out, the youngest of the lowest priority is set back: its keys and values are forgotten and computed again
/// later, which changes nothing in what it writes. Those of texts that have been read are kept while there is room, for
/// texts that begin alike. Tokens that are guessed to follow are computed with those that are known, where there is
/// room, and become known when they are drawn. Where a router decides, all layers read a prompt but for its last token
/// first, whatever is kept of others.
class Batcher : public Worker {
 public:
  /// All must outlive the batcher. `speculation`: for those whose job says nothing of drafts; `reader`: of a router
  /// that decides for those whose job says nothing of routes; null: none.
  Batcher(run::Runner& runner, const PaceOptions& pace, run::Speculation* speculation = nullptr,
          run::RouterReader* reader = nullptr);

  void add(std::unique_ptr<Sequence> sequence);
  bool step() override;
  void tell_ends() override;
  WorkerCounts counts() const override;
  WorkerLoad load() const override;
  void end_rest() override;

 private:
  /// Rows of a sequence in this step.
  struct Share {
    Sequence* sequence = nullptr;
    int64_t rows = 0;
    int64_t guessed = 0;  ///< of them, of its guess
    bool writes = false;
  };

  using Waiting = std::vector<std::unique_ptr<Sequence>>;

  bool awaits_choice(const Sequence& sequence) const;
  int64_t whole_end(const Sequence& sequence) const;
  bool in_whole_part(const Sequence& sequence) const;
  std::string_view pass_of(const Sequence& sequence) const;
  const run::Route* route_of(const Sequence& sequence) const;
  std::string family_of(const Sequence& sequence) const;
  void choose_routes();
  void drop_cancelled();
  void admit();
  Waiting::iterator next_waiting();
  bool is_being_read(const Sequence& sequence) const;
  void guess();
  run::Speculation* speculation_of(const Sequence& sequence);
  std::string draft_key(const Sequence& sequence) const;
  void end_drafts();
  void plan_rows();
  int64_t plan_share(Sequence& sequence, int64_t wanted);
  int64_t room() const;
  void set_back(std::unique_ptr<Sequence>& sequence);
  void run(std::span<const Share> shares);
  void build_rows(std::span<const Share> shares);
  void accept_share(const Share& share, size_t& row, size_t& logit_row);
  int64_t accept_rows(const Share& share, size_t& row, size_t& logit_row);
  void keep_prompt(const Share& share, bool begun);
  void retire();
  bool open(Sequence& sequence);
  void leave(Sequence& sequence);
  void close(Sequence& sequence);
  void forget(std::unique_ptr<Sequence>& sequence);
  void let_run(std::unique_ptr<Sequence> sequence);
  Turn turn(const Sequence& sequence) const;
  int64_t missing(const Sequence& sequence) const;
  int64_t snapshot_end(const Sequence& sequence) const;
  bool planned(const Sequence& sequence) const;
  bool writes(const Sequence& sequence) const;

  run::Runner& runner_;
  run::Speculation* speculation_;
  run::RouterReader* reader_;
  std::map<std::string, std::unique_ptr<run::Speculation>> drafts_;  ///< that requests have brought, by draft_key()
  Pace pace_;
  FairShares clients_;
  Waiting waiting_;
  std::vector<std::unique_ptr<Sequence>> running_;  ///< by priority, then by arrival
  std::vector<std::unique_ptr<Sequence>> ended_;    ///< whose ends are still to be told
  uint64_t arrivals_ = 0;
  bool keeps_states_ = false;   ///< the model has recurrent states
  int64_t planned_blocks_ = 0;  ///< that the shares need
  int64_t scored_rows_ = 0;     ///< of scored prompts, that the step has still room for
  std::vector<Share> shares_;
  std::vector<run::BatchRow> rows_;
  std::vector<float> logits_;
  WorkerCounts counts_;
};

}  // namespace lamina::serve
