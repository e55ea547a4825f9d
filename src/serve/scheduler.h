#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "serve/batcher.h"
#include "serve/histogram.h"
#include "serve/model_keeper.h"
#include "serve/served_model.h"
#include "serve/vectors.h"

namespace lamina::serve {

struct SchedulerOptions {
  int64_t queue = 128;  ///< parts of requests that may wait for a model
  PaceOptions pace{};
  std::chrono::milliseconds unload_idle{0};  ///< models that nobody has asked for so long are unloaded; 0: never
};

/// What is known of one model's work.
struct ModelState {
  WorkerCounts counts;
  Histogram first_token;
  Histogram token_gap;
};

/// One thread that does all computing: it takes jobs in, lets each model do a step in turn, and sleeps when there is
/// nothing to do. Everything that runs belongs to that thread; the mutex guards what is handed over and what is told.
class Scheduler {
 public:
  /// The models must outlive the scheduler and be left alone while it runs.
  Scheduler(std::vector<std::unique_ptr<ServedModel>>& models, const SchedulerOptions& options);
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  void start();
  /// All of the jobs or none. kLimit: too many wait already; kCancelled: the server is ending; else as
  /// Sequence::create().
  core::Status submit(size_t model, std::vector<GenerationJob> jobs);
  core::Status submit(size_t model, VectorJob job);
  /// Lets the computing thread do something short with a model's runner between two steps, and waits for it.
  core::Status run_between(size_t model, std::function<core::Status(run::Runner& runner)> work);
  /// From now on nothing is taken in; what runs goes on.
  void drain();
  bool draining() const;
  /// How many parts of requests may wait for a model.
  int64_t queue() const;
  /// The same from now on.
  void set_queue(int64_t most);
  /// Ends the thread. What was not finished is told so.
  void stop();

  ModelState state(size_t model) const;
  /// Requests must hold a pin of a model while they use it or wait for its work.
  ModelKeeper& keeper() { return keeper_; }

 private:
  /// Work between two steps, and what came of it.
  struct Between {
    std::function<core::Status(run::Runner& runner)> work;
    std::promise<core::Status> done{};
  };
  struct Arrival {
    size_t model = 0;
    std::unique_ptr<Sequence> sequence{};
    std::optional<VectorJob> vectors{};
    std::unique_ptr<Between> between{};
  };
  struct Slot {
    std::unique_ptr<Batcher> batcher{};
    std::unique_ptr<VectorWorker> vectors{};
    int64_t arriving = 0;  ///< handed over and not yet taken
    ModelState state{};

    /// Null while the model is not loaded.
    Worker* worker() { return batcher ? static_cast<Worker*>(batcher.get()) : vectors.get(); }
  };

  core::Status hand_over(size_t model, std::vector<Arrival> arrivals);
  void work();
  bool take_arrivals(bool wait);
  void take(Arrival arrival);
  void wait_for_arrivals(std::unique_lock<std::mutex>& lock);
  void make_worker(size_t model);
  void unload_idle();
  void share_time();
  void tell(size_t model);
  void end_rest();

  std::vector<std::unique_ptr<ServedModel>>& models_;
  SchedulerOptions options_;
  ModelKeeper keeper_;
  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<Arrival> arrivals_;
  std::vector<Slot> slots_;
  bool draining_ = false;
  bool stopping_ = false;
  std::mutex thread_mutex_;  ///< of thread_: a server may be ended before it has begun
  std::thread thread_;
};

}  // namespace lamina::serve
