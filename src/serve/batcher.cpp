#include "serve/batcher.h"

#include <algorithm>
#include <ranges>

#include "core/clock.h"

namespace lamina::serve {

namespace {

constexpr int64_t kBlock = kernels::kChunkKeys;
/// Rows of scored prompts in one step at most: each asks for logits, and those of a row can be a megabyte.
constexpr int64_t kScoredRows = 32;

int64_t blocks_for(int64_t tokens) {
  return (tokens + kBlock - 1) / kBlock;
}

}  // namespace

Batcher::Batcher(run::Runner& runner, const PaceOptions& pace)
    : runner_(runner), pace_(pace, runner.options().max_rows), kept_(runner) {
  rows_.reserve(static_cast<size_t>(runner.options().max_rows));
}

void Batcher::add(std::unique_ptr<Sequence> sequence) {
  sequence->arrival = arrivals_++;
  if (sequence->job().max_tokens == 0 && !sequence->job().scores_prompt) {
    sequence->finish_at_once();
    return;
  }
  waiting_.push_back(std::move(sequence));
}

WorkerCounts Batcher::counts() const {
  WorkerCounts counts = counts_;
  counts.waiting = std::ssize(waiting_);
  counts.running = std::ssize(running_);
  counts.cache_blocks = runner_.cache().block_count();
  counts.cache_blocks_kept = kept_.blocks();
  counts.cache_blocks_used = counts.cache_blocks - runner_.cache().free_blocks() - counts.cache_blocks_kept;
  counts.evicted = kept_.evicted();
  return counts;
}

bool Batcher::step() {
  counts_.first_token_seconds.clear();
  counts_.token_gap_seconds.clear();
  drop_cancelled();
  admit();
  plan_rows();
  build_rows();
  if (rows_.empty()) return false;
  const auto writers = std::ranges::count_if(shares_, [&](const Share& share) { return writes(*share.sequence); });
  const core::Stopwatch watch;
  const core::Status status = runner_.step(rows_, logits_);
  pace_.note(writers, std::ssize(rows_) - writers, watch.seconds());
  ++counts_.steps;
  if (status) {
    accept();
  } else {
    for (const Share& share : shares_) share.sequence->fail(status.error());
  }
  retire();
  return true;
}

void Batcher::drop_cancelled() {
  counts_.cancelled += static_cast<int64_t>(std::erase_if(waiting_, [](const auto& one) { return one->cancelled(); }));
  for (auto& sequence : running_) {
    if (!sequence->cancelled()) continue;
    leave(*sequence);
    sequence.reset();
    ++counts_.cancelled;
  }
  std::erase(running_, nullptr);
}

/// Lets those in who wait, in their order, as long as the cache has room for what is known of them and of all who run.
void Batcher::admit() {
  int64_t free = runner_.cache().free_blocks() + kept_.blocks();
  for (const auto& sequence : running_) free -= missing_blocks(*sequence, std::ssize(sequence->known()));
  while (!waiting_.empty() && std::ssize(running_) < runner_.options().sequences) {
    Sequence& next = *waiting_.front();
    const int64_t blocks = blocks_for(std::ssize(next.known()));
    if (blocks > free && !running_.empty()) return;
    if (!open(next)) return;
    free -= blocks;
    const auto place =
        std::ranges::upper_bound(running_, next.arrival, {}, [](const auto& one) { return one->arrival; });
    running_.insert(place, std::move(waiting_.front()));
    waiting_.pop_front();
  }
}

/// Gives the sequence a place in the cache, with what is kept of texts that begin as it does. Scored prompts need the
/// logits of every token, and compute them all.
bool Batcher::open(Sequence& sequence) {
  const bool reuses = !sequence.job().scores_prompt;
  sequence.cache_id = reuses ? kept_.take(sequence.known(), sequence.job().tenant) : cache::SequenceId{};
  if (sequence.cache_id == cache::SequenceId{}) {
    auto id = runner_.open();
    while (!id && kept_.evict()) id = runner_.open();
    if (!id) return false;
    sequence.cache_id = *id;
  }
  counts_.reused_tokens += runner_.length(sequence.cache_id);
  sequence.note_cached(runner_.length(sequence.cache_id));
  return true;
}

/// Tokens that are known and not computed.
int64_t Batcher::missing(const Sequence& sequence) const {
  return std::ssize(sequence.known()) - runner_.length(sequence.cache_id);
}

int64_t Batcher::missing_blocks(const Sequence& sequence, int64_t tokens) const {
  return std::max<int64_t>(0, blocks_for(tokens) - runner_.cache().reserved(sequence.cache_id) / kBlock);
}

bool Batcher::planned(const Sequence& sequence) const {
  return std::ranges::find(shares_, &sequence, &Share::sequence) != shares_.end();
}

void Batcher::plan_rows() {
  shares_.clear();
  free_blocks_ = runner_.cache().free_blocks();
  scored_rows_ = kScoredRows;
  std::vector<Sequence*> order;  // the list itself shrinks when a sequence is set back
  for (const auto& sequence : running_) order.push_back(sequence.get());
  int64_t room = runner_.options().max_rows;
  for (const bool writing : {true, false}) {
    if (!writing) room = std::min(room, pace_.prompt_rows(std::ssize(shares_)));
    for (Sequence* sequence : order) {
      const bool runs = sequence->cache_id != cache::SequenceId{};
      if (!runs || planned(*sequence) || writes(*sequence) != writing) continue;
      const int64_t rows = plan_share(*sequence, std::min(missing(*sequence), room));
      if (rows > 0) shares_.push_back({.sequence = sequence, .rows = rows});
      room -= rows;
    }
  }
}

/// Whether it lacks only what it wrote last.
bool Batcher::writes(const Sequence& sequence) const {
  return sequence.generated() > 0 && missing(sequence) == 1;
}

/// How many of these rows the sequence gets; makes room in the cache by setting younger ones back that have none yet.
int64_t Batcher::plan_share(Sequence& sequence, int64_t wanted) {
  const int64_t length = runner_.length(sequence.cache_id);
  const bool scored = sequence.job().scores_prompt && !writes(sequence);
  if (scored) wanted = std::min(wanted, scored_rows_);
  if (wanted <= 0) return 0;
  while (missing_blocks(sequence, length + wanted) > free_blocks_) {
    const int64_t before = runner_.cache().free_blocks();
    if (kept_.evict()) {
      free_blocks_ += runner_.cache().free_blocks() - before;
      continue;
    }
    const Sequence* youngest = nullptr;
    for (const auto& other : running_) youngest = planned(*other) ? youngest : other.get();
    if (youngest == &sequence) {
      const int64_t fits = runner_.cache().reserved(sequence.cache_id) + free_blocks_ * kBlock - length;
      if (fits > 0) {
        wanted = std::min(wanted, fits);
        break;
      }
    }
    const bool self = youngest == &sequence;
    if (!set_back_youngest() || self) return 0;
  }
  free_blocks_ -= missing_blocks(sequence, length + wanted);
  scored_rows_ -= scored ? wanted : 0;
  return wanted;
}

/// Forgets what is computed of the youngest sequence without a share, and lets it wait before all others.
bool Batcher::set_back_youngest() {
  for (size_t i = running_.size(); i-- > 0;) {
    Sequence& sequence = *running_[i];
    if (planned(sequence)) continue;
    free_blocks_ += runner_.cache().reserved(sequence.cache_id) / kBlock;
    close(sequence);
    ++counts_.set_back;
    const auto place =
        std::ranges::upper_bound(waiting_, sequence.arrival, {}, [](const auto& one) { return one->arrival; });
    waiting_.insert(place, std::move(running_[i]));
    running_.erase(running_.begin() + static_cast<ptrdiff_t>(i));
    return true;
  }
  return false;
}

void Batcher::build_rows() {
  rows_.clear();
  size_t wanted = 0;
  for (Share& share : shares_) {
    const Sequence& sequence = *share.sequence;
    const int64_t first = runner_.length(sequence.cache_id);
    for (int64_t position = first; position < first + share.rows; ++position) {
      const bool logits = sequence.wants_logits(position);
      rows_.push_back({.token = sequence.known()[static_cast<size_t>(position)],
                       .sequence = sequence.cache_id,
                       .wants_logits = logits});
      wanted += logits ? 1 : 0;
    }
  }
  const size_t size = wanted * static_cast<size_t>(runner_.model().vocabulary());
  if (logits_.size() < size) logits_.resize(size);
}

void Batcher::accept() {
  const auto vocabulary = static_cast<size_t>(runner_.model().vocabulary());
  size_t row = 0;
  size_t logit_row = 0;
  for (const Share& share : shares_) {
    Sequence& sequence = *share.sequence;
    const int64_t first = runner_.length(sequence.cache_id) - share.rows;
    const int64_t generated = sequence.generated();
    const double before = sequence.times().last_token;
    for (int64_t position = first; position < first + share.rows; ++position) {
      if (!rows_[row++].wants_logits) continue;
      const auto logits = std::span(logits_).subspan(logit_row++ * vocabulary, vocabulary);
      if (sequence.finished()) continue;
      if (core::Status status = sequence.accept(position, logits); !status) sequence.fail(std::move(status.error()));
    }
    const int64_t written = sequence.generated() - generated;
    counts_.generated_tokens += written;
    counts_.prompt_tokens += generated > 0 && share.rows == 1 ? 0 : share.rows;
    if (written > 0 && before >= 0) counts_.token_gap_seconds.push_back(sequence.times().last_token - before);
    if (written > 0 && before < 0) counts_.first_token_seconds.push_back(sequence.times().first_token);
  }
}

void Batcher::retire() {
  for (auto& sequence : running_) {
    if (!sequence->finished()) continue;
    leave(*sequence);
    sequence.reset();
  }
  std::erase(running_, nullptr);
}

/// Ends a sequence's use of the cache, whose contents others may go on from.
void Batcher::leave(Sequence& sequence) {
  kept_.add(sequence.cache_id, sequence.known(), sequence.job().tenant);
  sequence.cache_id = {};
}

void Batcher::end_rest() {
  for (const auto& sequence : waiting_) sequence->fail(ended_error());
  for (const auto& sequence : running_) {
    sequence->fail(ended_error());
    close(*sequence);
  }
  waiting_.clear();
  running_.clear();
}

void Batcher::close(Sequence& sequence) {
  runner_.close(sequence.cache_id);
  sequence.cache_id = {};
}

}  // namespace lamina::serve
