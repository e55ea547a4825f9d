#include "serve/batcher.h"

#include <algorithm>
#include <string_view>
#include <tuple>

#include "core/clock.h"

namespace lamina::serve {

namespace {

constexpr int64_t kBlock = kernels::kChunkKeys;
/// Rows of scored prompts in one step at most: each asks for logits, and those of a row can be a megabyte.
constexpr int64_t kScoredRows = 32;

}  // namespace

Batcher::Batcher(run::Runner& runner, const PaceOptions& pace, run::Speculation* speculation, run::RouterReader* reader)
    : runner_(runner),
      speculation_(speculation),
      reader_(reader),
      pace_(pace, runner.options().max_rows),
      keeps_states_(std::ranges::any_of(runner.cache_visits(), &cache::VisitShape::keeps_state)) {
  rows_.reserve(static_cast<size_t>(runner.options().max_rows));
}

void Batcher::add(std::unique_ptr<Sequence> sequence) {
  sequence->arrival = arrivals_++;
  if (sequence->job().max_tokens == 0 && !sequence->job().scores_prompt) {
    sequence->end_at_once();
    sequence->tell_end();
    return;
  }
  clients_.join(sequence->job().client);
  waiting_.push_back(std::move(sequence));
}

WorkerCounts Batcher::counts() const {
  WorkerCounts counts = counts_;
  const cache::KvCache& cache = runner_.cache();
  counts.waiting = std::ssize(waiting_);
  counts.running = std::ssize(running_);
  counts.cache_blocks = cache.block_count();
  counts.cache_blocks_kept = cache.idle_blocks();
  counts.cache_blocks_used = counts.cache_blocks - cache.free_blocks();
  counts.evicted = cache.evicted();
  return counts;
}

WorkerLoad Batcher::load() const {
  const auto writing = std::ranges::count_if(running_, [&](const auto& one) { return writes(*one); });
  return {.writes = writing > 0,
          .reads = !waiting_.empty() || writing < std::ssize(running_),
          .plain_seconds = pace_.plain_seconds()};
}

bool Batcher::step() {
  tell_ends();
  counts_.first_token_seconds.clear();
  counts_.token_gap_seconds.clear();
  drop_cancelled();
  admit();
  const double before = counts_.step_seconds;
  guess();
  plan_rows();
  if (shares_.empty()) return false;
  int64_t writers = 0;
  int64_t rows = 0;
  for (const Share& share : shares_) {
    writers += share.writes ? 1 : 0;
    rows += share.rows;
  }
  // One pass over the layers for each route.
  const auto pass = [this](const Share& share) { return pass_of(*share.sequence); };
  std::ranges::sort(shares_, {}, [&](const Share& share) { return std::pair(pass(share), share.sequence->arrival); });
  for (std::span<const Share> rest = shares_; !rest.empty();) {
    const auto end = std::ranges::upper_bound(rest, pass(rest.front()), {}, pass);
    const auto count = static_cast<size_t>(end - rest.begin());
    run(rest.first(count));
    rest = rest.subspan(count);
  }
  pace_.note(writers, rows - writers, counts_.step_seconds - before);
  ++counts_.steps;
  choose_routes();
  retire();
  end_drafts();
  return true;
}

/// Whether a router is to decide on its route, and has not.
bool Batcher::awaits_choice(const Sequence& sequence) const {
  const GenerationJob& job = sequence.job();
  return reader_ != nullptr && !sequence.choice && job.route == nullptr && !job.scores_prompt && job.prompt.size() > 1;
}

/// How many of its tokens, from the first on, are computed by the route that is served whatever follows: those that a
/// router reads, as far as they are not computed anew. Nothing of such a text is of use to others.
int64_t Batcher::whole_end(const Sequence& sequence) const {
  const bool kept =
      sequence.choice && sequence.choice->route != nullptr && reader_->router().kind == run::Router::Kind::kSkip;
  return kept || awaits_choice(sequence) ? std::ssize(sequence.job().prompt) - 1 : 0;
}

bool Batcher::in_whole_part(const Sequence& sequence) const {
  return runner_.length(sequence.cache_id) < whole_end(sequence);
}

/// What names the route of its next rows; those of one are computed together.
std::string_view Batcher::pass_of(const Sequence& sequence) const {
  if (in_whole_part(sequence)) return {};
  return sequence.choice ? sequence.choice->recipe : sequence.job().recipe;
}

/// Of its next rows; null: that which is served.
const run::Route* Batcher::route_of(const Sequence& sequence) const {
  if (in_whole_part(sequence)) return nullptr;
  return sequence.choice ? sequence.choice->route.get() : sequence.job().route.get();
}

/// With what its keys and values are shared: texts of the same tenant and route.
std::string Batcher::family_of(const Sequence& sequence) const {
  return sequence.job().tenant + (sequence.choice ? sequence.choice->recipe : std::string());
}

/// Lets the router decide for those whose prompts it has read. What must be computed anew begins again, with what is
/// kept of texts of its route.
void Batcher::choose_routes() {
  for (const auto& sequence : running_) {
    if (!awaits_choice(*sequence) || in_whole_part(*sequence) || sequence->finished()) continue;
    auto route = reader_->decide(runner_, sequence->cache_id);
    if (!route) {
      sequence->fail(route.error());
      continue;
    }
    sequence->choice.emplace();
    if (route->visits == runner_.options().plan.route) continue;
    sequence->choice->recipe = "route:" + recipe::route_text(route->visits);
    sequence->choice->route = std::make_shared<const run::Route>(std::move(*route));
    if (reader_->router().kind == run::Router::Kind::kSkip) continue;
    close(*sequence);
    if (!open(*sequence)) sequence->fail(core::Error{core::ErrorCode::kLimit, "router", "no place to begin again"});
  }
}

/// By what a sequence's tokens are guessed; null: by nothing.
run::Speculation* Batcher::speculation_of(const Sequence& sequence) {
  const GenerationJob& job = sequence.job();
  // The server's own draft is made for the route that it serves.
  if (job.draft_plan == nullptr) return job.route == nullptr ? speculation_ : nullptr;
  auto& own = drafts_[draft_key(sequence)];
  if (!own) {
    auto made = run::Speculation::create(*job.draft_plan, runner_);
    if (!made) return nullptr;  // it was checked when the request came
    own = std::move(*made);
  }
  return own.get();
}

std::string Batcher::draft_key(const Sequence& sequence) const {
  return fmt::format("{} {}", sequence.job().recipe, sequence.job().draft);
}

/// Lets go of what requests have brought that are no more.
void Batcher::end_drafts() {
  std::erase_if(drafts_, [&](const auto& draft) {
    return std::ranges::none_of(running_, [&](const auto& sequence) {
      return sequence->job().draft_plan != nullptr && draft_key(*sequence) == draft.first;
    });
  });
}

/// Guesses what those write next who lack one token, as far as half a step has room for it.
void Batcher::guess() {
  std::map<run::Speculation*, std::vector<run::DraftText>> texts;
  int64_t writers = 0;
  for (const auto& sequence : running_) {
    sequence->guess.clear();
    if (!writes(*sequence)) continue;
    ++writers;
    run::Speculation* speculation = speculation_of(*sequence);
    if (speculation == nullptr) continue;
    const int64_t left = sequence->job().max_tokens - sequence->generated();
    texts[speculation].push_back({.sequence = sequence->cache_id,
                                  .known = sequence->known(),
                                  .most = std::min(left - 1, runner_.options().context - std::ssize(sequence->known())),
                                  .sampler = sequence->sampler(),
                                  .guess = &sequence->guess});
  }
  const int64_t most = writers == 0 ? 0 : runner_.options().max_rows / (2 * writers) - 1;
  const core::Stopwatch watch;
  for (auto& [speculation, list] : texts) {
    for (run::DraftText& text : list) text.most = std::clamp(text.most, int64_t{0}, std::max<int64_t>(most, 0));
    // A draft that fails costs its guess; if the model itself cannot go on, the step will say so.
    if (!speculation->guess(list)) {
      for (const run::DraftText& text : list) text.guess->clear();
    }
  }
  if (!texts.empty()) counts_.step_seconds += watch.seconds();
}

/// Runs sequences of one route together.
void Batcher::run(std::span<const Share> shares) {
  build_rows(shares);
  const run::Route* route = route_of(*shares.front().sequence);
  const core::Stopwatch watch;
  runner_.set_hook(route == nullptr ? reader_ : nullptr);
  const core::Status status = runner_.step(rows_, logits_, route);
  runner_.set_hook(nullptr);
  counts_.step_seconds += watch.seconds();
  if (!status) {
    for (const Share& share : shares) share.sequence->fail(status.error());
    return;
  }
  const double seconds = watch.seconds();
  size_t row = 0;
  size_t logit_row = 0;
  std::map<run::Speculation*, int64_t> written;
  const bool alone = std::ranges::all_of(shares, &Share::writes);
  for (const Share& share : shares) {
    const int64_t before = share.sequence->generated();
    accept_share(share, row, logit_row);
    if (!share.writes) continue;
    if (run::Speculation* speculation = speculation_of(*share.sequence))
      written[speculation] += share.sequence->generated() - before;
  }
  for (const auto& [speculation, tokens] : written)
    speculation->finish_step(seconds, tokens, alone && written.size() == 1);
}

void Batcher::drop_cancelled() {
  for (auto& sequence : waiting_) {
    if (!sequence->cancelled()) continue;
    forget(sequence);
    ++counts_.cancelled;
  }
  std::erase(waiting_, nullptr);
  for (auto& sequence : running_) {
    if (!sequence->cancelled()) continue;
    leave(*sequence);
    forget(sequence);
    ++counts_.cancelled;
  }
  std::erase(running_, nullptr);
}

void Batcher::forget(std::unique_ptr<Sequence>& sequence) {
  clients_.leave(sequence->job().client);
  sequence.reset();
}

Turn Batcher::turn(const Sequence& sequence) const {
  return {
      .priority = sequence.job().priority, .given = clients_.given(sequence.job().client), .arrival = sequence.arrival};
}

/// Lets those in who wait, by turns, as long as the cache has room for what is known of them and of all who run.
void Batcher::admit() {
  const cache::KvCache& cache = runner_.cache();
  int64_t lacking = 0;
  for (const auto& sequence : running_) lacking += cache.lacking(sequence->cache_id, std::ssize(sequence->known()));
  while (std::ssize(running_) < runner_.options().sequences) {
    const auto next = next_waiting();
    if (next == waiting_.end()) return;
    Sequence& sequence = **next;
    if (!open(sequence)) return;
    lacking += cache.lacking(sequence.cache_id, std::ssize(sequence.known()));
    if (lacking > cache.free_blocks() && !running_.empty()) return close(sequence);
    const int64_t reused = runner_.length(sequence.cache_id);
    counts_.reused_tokens += reused;
    sequence.note_cached(reused);
    counts_.reused_texts += reused > 0 ? 1 : 0;
    let_run(std::move(*next));
    waiting_.erase(next);
  }
}

/// The one whose turn it is, of those that should not rather wait on; the end if there is none.
Batcher::Waiting::iterator Batcher::next_waiting() {
  auto next = waiting_.end();
  for (auto one = waiting_.begin(); one != waiting_.end(); ++one) {
    if ((next == waiting_.end() || turn(**one) < turn(**next)) && !is_being_read(**one)) next = one;
  }
  return next;
}

/// Whether another sequence is reading most of what this one begins with, and is done sooner than this one would be:
/// then this one goes on from what the other has read (several answers to one prompt; one long text, many questions).
bool Batcher::is_being_read(const Sequence& sequence) const {
  if (sequence.job().scores_prompt || keeps_states_ || whole_end(sequence) > 0) return false;
  const std::vector<int32_t>& own = sequence.known();
  return std::ranges::any_of(running_, [&](const auto& other) {
    if (other->generated() > 0 || whole_end(*other) > 0 || family_of(*other) != family_of(sequence)) return false;
    const auto same = std::ranges::mismatch(own, other->known()).in1 - own.begin();
    return same >= kBlock && same >= std::ssize(own) / 2 && missing(*other) <= same;
  });
}

void Batcher::let_run(std::unique_ptr<Sequence> sequence) {
  const auto rank = [](const auto& one) { return std::pair(one->job().priority, one->arrival); };
  running_.insert(std::ranges::upper_bound(running_, rank(sequence), {}, rank), std::move(sequence));
}

/// Gives the sequence a place in the cache, with what is kept of texts that begin as it does. Scored prompts need the
/// logits of every token, and compute them all.
bool Batcher::open(Sequence& sequence) {
  const auto id = runner_.open();
  if (!id) return false;
  sequence.cache_id = *id;
  if (awaits_choice(sequence)) reader_->begin(*id, whole_end(sequence));
  if (!sequence.job().scores_prompt && whole_end(sequence) == 0)
    runner_.resume(*id, sequence.known(), family_of(sequence));
  return true;
}

/// Tokens that are known and not computed.
int64_t Batcher::missing(const Sequence& sequence) const {
  return std::ssize(sequence.known()) - runner_.length(sequence.cache_id);
}

/// Where a prompt's reading pauses, so that the state there can be kept for texts that begin alike: the last border of
/// blocks before its end; 0: nowhere.
int64_t Batcher::snapshot_end(const Sequence& sequence) const {
  return keeps_states_ ? (std::ssize(sequence.known()) - 1) / kBlock * kBlock : 0;
}

bool Batcher::planned(const Sequence& sequence) const {
  return std::ranges::find(shares_, &sequence, &Share::sequence) != shares_.end();
}

void Batcher::plan_rows() {
  shares_.clear();
  planned_blocks_ = 0;
  scored_rows_ = kScoredRows;
  std::vector<Sequence*> order;  // the list itself shrinks when a sequence is set back
  for (const auto& sequence : running_) order.push_back(sequence.get());
  int64_t left = runner_.options().max_rows;
  for (const bool writing : {true, false}) {
    if (!writing) {
      left = std::min(left, pace_.prompt_rows(std::ssize(shares_), read_seconds()));
      std::ranges::sort(order, {}, [&](const Sequence* one) { return turn(*one); });
    }
    for (Sequence* sequence : order) {
      const bool runs = sequence->cache_id != cache::SequenceId{};
      if (!runs || planned(*sequence) || writes(*sequence) != writing) continue;
      const int64_t lacks = missing(*sequence);
      const int64_t rows = plan_share(*sequence, std::min(lacks + std::ssize(sequence->guess), left));
      if (rows > 0) {
        shares_.push_back(
            {.sequence = sequence, .rows = rows, .guessed = std::max<int64_t>(0, rows - lacks), .writes = writing});
      }
      left -= rows;
    }
  }
}

/// Whether it lacks only what it wrote last.
bool Batcher::writes(const Sequence& sequence) const {
  return sequence.generated() > 0 && missing(sequence) == 1;
}

/// Blocks that the shares leave.
int64_t Batcher::room() const {
  return runner_.cache().free_blocks() - planned_blocks_;
}

/// How many of these rows the sequence gets; makes room in the cache by setting those back that come later and have
/// none yet.
int64_t Batcher::plan_share(Sequence& sequence, int64_t wanted) {
  const cache::KvCache& cache = runner_.cache();
  const int64_t length = cache.length(sequence.cache_id);
  const bool scored = sequence.job().scores_prompt && !writes(sequence);
  if (scored) wanted = std::min(wanted, scored_rows_);
  for (const int64_t end : {snapshot_end(sequence), whole_end(sequence)}) {
    if (length < end) wanted = std::min(wanted, end - length);
  }
  // Nobody loses a place for a guess.
  if (!sequence.guess.empty() && cache.lacking(sequence.cache_id, length + wanted) > room())
    wanted = std::min(wanted, missing(sequence));
  while (wanted > 0 && cache.lacking(sequence.cache_id, length + wanted) > room()) {
    const auto last = std::find_if(running_.rbegin(), running_.rend(), [&](const auto& one) { return !planned(*one); });
    const bool self = last->get() == &sequence;
    if (self && cache.lacking(sequence.cache_id, length + 1) <= room()) {
      wanted = (length + wanted - 1) / kBlock * kBlock - length;  // a block less
      continue;
    }
    set_back(*last);
    if (self) return 0;
  }
  if (wanted <= 0) return 0;
  planned_blocks_ += cache.lacking(sequence.cache_id, length + wanted);
  scored_rows_ -= scored ? wanted : 0;
  return wanted;
}

/// Lets a sequence wait again. What is computed of it stays while nobody needs its room.
void Batcher::set_back(std::unique_ptr<Sequence>& sequence) {
  leave(*sequence);
  sequence->guess.clear();
  ++counts_.set_back;
  waiting_.push_back(std::move(sequence));
  std::erase(running_, nullptr);
}

void Batcher::build_rows(std::span<const Share> shares) {
  rows_.clear();
  size_t wanted = 0;
  for (const Share& share : shares) {
    const Sequence& sequence = *share.sequence;
    const int64_t first = runner_.length(sequence.cache_id);
    const int64_t known = std::ssize(sequence.known());
    for (int64_t position = first; position < first + share.rows; ++position) {
      const bool logits = sequence.wants_logits(position);
      rows_.push_back({.token = position < known ? sequence.known()[static_cast<size_t>(position)]
                                                 : sequence.guess[static_cast<size_t>(position - known)],
                       .sequence = sequence.cache_id,
                       .wants_logits = logits});
      wanted += logits ? 1 : 0;
    }
  }
  const size_t size = wanted * static_cast<size_t>(runner_.model().vocabulary());
  if (logits_.size() < size) logits_.resize(size);
}

void Batcher::accept_share(const Share& share, size_t& row, size_t& logit_row) {
  Sequence& sequence = *share.sequence;
  const int64_t generated = sequence.generated();
  const double before = sequence.times().last_token;
  const int64_t right = accept_rows(share, row, logit_row);
  const int64_t written = sequence.generated() - generated;
  clients_.give(sequence.job().client, share.rows);
  counts_.generated_tokens += written;
  counts_.prompt_tokens += generated > 0 && share.rows - share.guessed == 1 ? 0 : share.rows - share.guessed;
  counts_.drafted_tokens += share.guessed;
  counts_.accepted_tokens += right;
  run::Speculation* speculation = share.writes ? speculation_of(sequence) : nullptr;
  if (speculation != nullptr) speculation->confirm(sequence.cache_id, share.guessed, right);
  if (written > 0 && before >= 0) counts_.token_gap_seconds.push_back(sequence.times().last_token - before);
  if (written > 0 && before < 0) counts_.first_token_seconds.push_back(sequence.times().first_token);
  keep_prompt(share, generated == 0 && written > 0);
}

/// Lets the sequence take its rows of logits, for as long as what it draws is what was guessed; what was computed of
/// the rest of a guess is forgotten. Returns how many tokens of the guess were right.
int64_t Batcher::accept_rows(const Share& share, size_t& row, size_t& logit_row) {
  const auto vocabulary = static_cast<size_t>(runner_.model().vocabulary());
  Sequence& sequence = *share.sequence;
  const int64_t end = runner_.length(sequence.cache_id);
  const int64_t guess_begin = end - share.guessed;
  int64_t right = 0;
  bool agrees = true;
  for (int64_t position = end - share.rows; position < end; ++position) {
    if (!rows_[row++].wants_logits) continue;
    const auto logits = std::span(logits_).subspan(logit_row++ * vocabulary, vocabulary);
    if (sequence.finished() || !agrees) continue;
    const int64_t known = std::ssize(sequence.known());
    if (core::Status status = sequence.accept(position, logits); !status) sequence.fail(std::move(status.error()));
    const int64_t next = position + 1;
    if (next < guess_begin || next == end) continue;
    agrees = std::ssize(sequence.known()) > known &&
             sequence.known().back() == sequence.guess[static_cast<size_t>(next - guess_begin)];
    right += agrees ? 1 : 0;
  }
  // Neither the token that was drawn last nor a wrong guess is computed.
  const int64_t valid = guess_begin + right;
  if (valid < end) std::ignore = runner_.truncate(sequence.cache_id, valid);
  return right;
}

/// Once a prompt has been read others can go on from it, while its answer is still being written.
void Batcher::keep_prompt(const Share& share, bool begun) {
  const Sequence& sequence = *share.sequence;
  if (whole_end(sequence) > 0) return;
  const int64_t length = runner_.length(sequence.cache_id);
  const bool at_border = keeps_states_ && sequence.generated() == 0 && length == snapshot_end(sequence);
  if (begun || at_border) runner_.keep(sequence.cache_id, sequence.known(), family_of(sequence), true);
}

void Batcher::retire() {
  for (auto& sequence : running_) {
    if (!sequence->finished()) continue;
    leave(*sequence);
    clients_.leave(sequence->job().client);
    ended_.push_back(std::move(sequence));
  }
  std::erase(running_, nullptr);
}

void Batcher::tell_ends() {
  for (const auto& sequence : ended_) sequence->tell_end();
  ended_.clear();
}

/// Ends a sequence's use of the cache, whose contents others may go on from.
void Batcher::leave(Sequence& sequence) {
  if (sequence.cache_id == cache::SequenceId{}) return;
  if (whole_end(sequence) == 0) runner_.keep(sequence.cache_id, sequence.known(), family_of(sequence), false);
  close(sequence);
}

void Batcher::end_rest() {
  tell_ends();
  for (const auto& sequence : running_) close(*sequence);
  for (auto* list : {&waiting_, &running_}) {
    for (auto& sequence : *list) {
      sequence->fail(ended_error());
      sequence->tell_end();
      forget(sequence);
    }
  }
  waiting_.clear();
  running_.clear();
}

void Batcher::close(Sequence& sequence) {
  if (speculation_ != nullptr) speculation_->forget(sequence.cache_id);
  for (const auto& [key, draft] : drafts_) draft->forget(sequence.cache_id);
  if (reader_ != nullptr) reader_->forget(sequence.cache_id);
  runner_.close(sequence.cache_id);
  sequence.cache_id = {};
}

}  // namespace lamina::serve
