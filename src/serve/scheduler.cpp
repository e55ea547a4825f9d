#include "serve/scheduler.h"

namespace lamina::serve {

using core::ErrorCode;
using core::fail;
using core::Status;

Scheduler::Scheduler(std::vector<std::unique_ptr<ServedModel>>& models, const SchedulerOptions& options)
    : models_(models), options_(options), keeper_(models), slots_(models.size()) {
  for (size_t i = 0; i < models.size(); ++i) {
    make_worker(i);
    slots_[i].state.counts = slots_[i].worker()->counts();
  }
}

void Scheduler::make_worker(size_t model) {
  ServedModel& served = *models_[model];
  if (served.task == Task::kGenerate) {
    slots_[model].batcher =
        std::make_unique<Batcher>(*served.runner, options_.pace, served.speculation.get(), served.reader.get());
    return;
  }
  const embed::Settings* settings = served.task == Task::kEmbed ? &*served.settings : nullptr;
  slots_[model].vectors = std::make_unique<VectorWorker>(*served.runner, settings);
}

Scheduler::~Scheduler() {
  stop();
}

void Scheduler::start() {
  const std::lock_guard lock(thread_mutex_);
  const bool ended = [this] {
    const std::lock_guard state(mutex_);
    return stopping_;
  }();
  if (!ended) thread_ = std::thread([this] { work(); });
}

Status Scheduler::submit(size_t model, std::vector<GenerationJob> jobs) {
  std::vector<Arrival> arrivals;
  for (GenerationJob& job : jobs) {
    Arrival arrival{.model = model};
    LAMINA_ASSIGN(arrival.sequence,
                  Sequence::create(std::move(job), models_[model]->tokenizer, models_[model]->model->vocabulary()));
    arrivals.push_back(std::move(arrival));
  }
  return hand_over(model, std::move(arrivals));
}

Status Scheduler::submit(size_t model, VectorJob job) {
  std::vector<Arrival> arrivals;
  arrivals.push_back({.model = model, .vectors = std::move(job)});
  return hand_over(model, std::move(arrivals));
}

Status Scheduler::run_between(size_t model, std::function<Status(run::Runner& runner)> work) {
  std::vector<Arrival> arrivals;
  arrivals.push_back({.model = model, .between = std::make_unique<Between>(std::move(work))});
  std::future<Status> done = arrivals.front().between->done.get_future();
  LAMINA_CHECK_OK(hand_over(model, std::move(arrivals)));
  return done.get();
}

Status Scheduler::hand_over(size_t model, std::vector<Arrival> arrivals) {
  {
    const std::lock_guard lock(mutex_);
    Slot& slot = slots_[model];
    if (draining_) return fail(ErrorCode::kCancelled, "server", "it is ending and takes no more requests");
    const int64_t waiting = slot.state.counts.waiting + slot.arriving;
    // A request of many parts may fill the queue beyond its limit, if it has not reached it.
    if (waiting >= options_.queue) {
      return fail(ErrorCode::kLimit, "queue", "{} wait already for {}; at most {} may", waiting, models_[model]->name,
                  options_.queue);
    }
    slot.arriving += std::ssize(arrivals);
    std::ranges::move(arrivals, std::back_inserter(arrivals_));
  }
  arrived_.notify_one();
  return {};
}

void Scheduler::drain() {
  const std::lock_guard lock(mutex_);
  draining_ = true;
}

int64_t Scheduler::queue() const {
  const std::lock_guard lock(mutex_);
  return options_.queue;
}

void Scheduler::set_queue(int64_t most) {
  const std::lock_guard lock(mutex_);
  options_.queue = most;
}

bool Scheduler::draining() const {
  const std::lock_guard lock(mutex_);
  return draining_;
}

void Scheduler::stop() {
  {
    const std::lock_guard lock(mutex_);
    draining_ = true;
    stopping_ = true;
  }
  arrived_.notify_one();
  const std::lock_guard lock(thread_mutex_);
  if (thread_.joinable()) thread_.join();
}

ModelState Scheduler::state(size_t model) const {
  const std::lock_guard lock(mutex_);
  return slots_[model].state;
}

void Scheduler::work() {
  bool busy = false;
  while (take_arrivals(!busy)) {
    busy = false;
    share_time();
    for (size_t i = 0; i < slots_.size(); ++i) {
      if (slots_[i].worker() == nullptr) continue;
      run::Runner& runner = *models_[i]->runner;
      models_[i]->watch->begin(runner);
      const bool stepped = slots_[i].worker()->step();
      models_[i]->watch->end(runner, stepped);
      busy = busy || stepped;
      tell(i);
      slots_[i].worker()->tell_ends();
    }
    if (!busy) unload_idle();
  }
  end_rest();
}

/// Whoever writes must not wait longer for the next token than the gap, whatever all models together have to read.
void Scheduler::share_time() {
  double plain = 0;
  int64_t writers = 0;
  int64_t readers = 0;
  for (Slot& slot : slots_) {
    const WorkerLoad load = slot.worker() == nullptr ? WorkerLoad{} : slot.worker()->load();
    writers += load.writes ? 1 : 0;
    readers += load.reads ? 1 : 0;
    if (load.writes) plain += load.plain_seconds;
  }
  const double seconds =
      writers > 0 ? options_.pace.read_seconds(plain) / static_cast<double>(std::max<int64_t>(readers, 1)) : kNoHurry;
  for (Slot& slot : slots_) {
    if (slot.worker() != nullptr) slot.worker()->set_read_seconds(seconds);
  }
}

void Scheduler::unload_idle() {
  if (options_.unload_idle.count() == 0) return;
  for (size_t i = 0; i < slots_.size(); ++i) {
    keeper_.unload(i, options_.unload_idle, [&] {
      Slot& slot = slots_[i];
      const std::lock_guard lock(mutex_);
      // Nobody pins it, so nothing more arrives; but something may have been left behind.
      const WorkerLoad load = slot.worker()->load();
      if (slot.arriving > 0 || load.reads || load.writes) return false;
      slot.batcher.reset();
      slot.vectors.reset();
      slot.state.counts = {};
      return true;
    });
  }
}

/// Sleeps until there is something to do: work, the end, or a model that nobody needs any more.
void Scheduler::wait_for_arrivals(std::unique_lock<std::mutex>& lock) {
  const auto something = [&] { return stopping_ || !arrivals_.empty(); };
  bool loaded = false;
  for (size_t i = 0; i < slots_.size(); ++i) loaded |= keeper_.loaded(i) && keeper_.can_unload(i);
  if (options_.unload_idle.count() == 0 || !loaded) {
    arrived_.wait(lock, something);
  } else {
    arrived_.wait_for(lock, options_.unload_idle, something);
  }
}

/// Takes what was handed over, and waits for it where there is nothing else to do; false when the thread must end.
bool Scheduler::take_arrivals(bool wait) {
  std::vector<Arrival> taken;
  {
    std::unique_lock lock(mutex_);
    if (wait) wait_for_arrivals(lock);
    if (stopping_) return false;
    taken.swap(arrivals_);
  }
  if (taken.empty()) return true;
  std::vector<size_t> models;
  for (Arrival& arrival : taken) {
    models.push_back(arrival.model);
    take(std::move(arrival));
  }
  const std::lock_guard lock(mutex_);
  for (const size_t model : models) --slots_[model].arriving;
  for (Slot& slot : slots_) {
    if (slot.worker() != nullptr) slot.state.counts.waiting = slot.worker()->counts().waiting;
  }
  return true;
}

void Scheduler::take(Arrival arrival) {
  Slot& slot = slots_[arrival.model];
  if (slot.worker() == nullptr) make_worker(arrival.model);
  if (arrival.between) {
    arrival.between->done.set_value(arrival.between->work(*models_[arrival.model]->runner));
  } else if (slot.batcher) {
    slot.batcher->add(std::move(arrival.sequence));
  } else {
    slot.vectors->add(std::move(*arrival.vectors));
  }
}

void Scheduler::tell(size_t model) {
  WorkerCounts counts = slots_[model].worker()->counts();
  const std::lock_guard lock(mutex_);
  ModelState& state = slots_[model].state;
  for (const double seconds : counts.first_token_seconds) state.first_token.add(seconds);
  for (const double seconds : counts.token_gap_seconds) state.token_gap.add(seconds);
  state.counts = std::move(counts);
}

/// Nobody must wait for an answer that never comes.
void Scheduler::end_rest() {
  for (Slot& slot : slots_) {
    if (slot.worker() != nullptr) slot.worker()->end_rest();
  }
  const std::lock_guard lock(mutex_);
  for (Arrival& arrival : arrivals_) {
    if (arrival.sequence) {
      arrival.sequence->fail(ended_error());
      arrival.sequence->tell_end();
    }
    if (arrival.between) arrival.between->done.set_value(std::unexpected(ended_error()));
    if (arrival.vectors)
      arrival.vectors->channel->push({.part = arrival.vectors->part, .error = ended_error(), .last = true});
  }
  arrivals_.clear();
}

}  // namespace lamina::serve
