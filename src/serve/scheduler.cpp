#include "serve/scheduler.h"

namespace lamina::serve {

using core::ErrorCode;
using core::fail;
using core::Status;

Scheduler::Scheduler(std::vector<std::unique_ptr<ServedModel>>& models, const SchedulerOptions& options)
    : models_(models), options_(options), slots_(models.size()) {
  for (size_t i = 0; i < models.size(); ++i) {
    ServedModel& model = *models[i];
    Slot& slot = slots_[i];
    if (model.task == Task::kGenerate) {
      slot.batcher = std::make_unique<Batcher>(*model.runner, options.pace);
    } else {
      const embed::Settings* settings = model.task == Task::kEmbed ? &*model.settings : nullptr;
      slot.vectors = std::make_unique<VectorWorker>(*model.runner, settings);
    }
    slot.state.counts = slot.worker().counts();
  }
}

Scheduler::~Scheduler() {
  stop();
}

void Scheduler::start() {
  thread_ = std::thread([this] { work(); });
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
    for (size_t i = 0; i < slots_.size(); ++i) {
      run::Runner& runner = *models_[i]->runner;
      models_[i]->watch->begin(runner);
      const bool stepped = slots_[i].worker().step();
      models_[i]->watch->end(runner, stepped);
      busy = busy || stepped;
      tell(i);
    }
  }
  end_rest();
}

/// Takes what was handed over, and waits for it where there is nothing else to do; false when the thread must end.
bool Scheduler::take_arrivals(bool wait) {
  std::vector<Arrival> taken;
  {
    std::unique_lock lock(mutex_);
    if (wait) arrived_.wait(lock, [&] { return stopping_ || !arrivals_.empty(); });
    if (stopping_) return false;
    taken.swap(arrivals_);
  }
  for (Arrival& arrival : taken) {
    Slot& slot = slots_[arrival.model];
    if (slot.batcher) {
      slot.batcher->add(std::move(arrival.sequence));
    } else {
      slot.vectors->add(std::move(*arrival.vectors));
    }
  }
  if (taken.empty()) return true;
  const std::lock_guard lock(mutex_);
  for (const Arrival& arrival : taken) --slots_[arrival.model].arriving;
  for (Slot& slot : slots_) slot.state.counts.waiting = slot.worker().counts().waiting;
  return true;
}

void Scheduler::tell(size_t model) {
  WorkerCounts counts = slots_[model].worker().counts();
  const std::lock_guard lock(mutex_);
  ModelState& state = slots_[model].state;
  for (const double seconds : counts.first_token_seconds) state.first_token.add(seconds);
  for (const double seconds : counts.token_gap_seconds) state.token_gap.add(seconds);
  state.counts = std::move(counts);
}

/// Nobody must wait for an answer that never comes.
void Scheduler::end_rest() {
  for (Slot& slot : slots_) slot.worker().end_rest();
  const std::lock_guard lock(mutex_);
  for (Arrival& arrival : arrivals_) {
    if (arrival.sequence) arrival.sequence->fail(ended_error());
    if (arrival.vectors)
      arrival.vectors->channel->push({.part = arrival.vectors->part, .error = ended_error(), .last = true});
  }
  arrivals_.clear();
}

}  // namespace lamina::serve
