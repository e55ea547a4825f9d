#include "serve/vectors.h"

#include <algorithm>

#include "core/clock.h"
#include "embed/rerank.h"

namespace lamina::serve {

using core::Result;

namespace {

constexpr double kNewest = 0.25;  // weight of the newest measurement

}  // namespace

VectorWorker::VectorWorker(run::Runner& runner, const embed::Settings* settings)
    : runner_(runner), settings_(settings) {}

void VectorWorker::add(VectorJob job) {
  clients_.join(job.client);
  jobs_.push_back({.job = std::move(job), .arrival = arrivals_++});
}

WorkerCounts VectorWorker::counts() const {
  WorkerCounts counts = counts_;
  counts.running = jobs_.empty() ? 0 : 1;
  counts.waiting = std::max<int64_t>(0, std::ssize(jobs_) - 1);
  return counts;
}

WorkerLoad VectorWorker::load() const {
  return {.writes = false, .reads = !jobs_.empty(), .plain_seconds = 0};
}

bool VectorWorker::step() {
  tell_ends();
  for (auto one = jobs_.begin(); one != jobs_.end();) {
    const bool cancelled = one->job.channel->cancelled();
    counts_.cancelled += cancelled ? 1 : 0;
    if (cancelled) clients_.leave(one->job.client);
    one = cancelled ? jobs_.erase(one) : one + 1;
  }
  if (jobs_.empty()) return false;
  const auto next = std::ranges::min_element(jobs_, {}, [&](const Active& one) {
    return Turn{.given = clients_.given(one.job.client), .arrival = one.arrival};
  });
  work_on(*next);
  if (next->job.inputs.empty()) {
    clients_.leave(next->job.client);
    jobs_.erase(next);
  }
  return true;
}

/// Rows of the next step: what fits into the time, or a whole batch.
int64_t VectorWorker::most_rows() const {
  const int64_t most = runner_.options().max_rows;
  if (read_seconds() == kNoHurry) return most;
  if (seconds_per_row_ == 0) return 1;
  return static_cast<int64_t>(std::min(read_seconds() / seconds_per_row_, static_cast<double>(most)));
}

/// The job's next texts; a job that has ended is left without inputs.
void VectorWorker::work_on(Active& active) {
  const auto rest = std::span(active.job.inputs).subspan(active.vectors.size());
  const int64_t most = most_rows();
  size_t count = 0;
  int64_t rows = 0;
  while (count < rest.size() && (count == 0 || rows + std::ssize(rest[count].ids) <= most))
    rows += std::ssize(rest[count++].ids);
  const core::Stopwatch watch;
  auto vectors = run(active, rest.first(count));
  const double seconds = watch.seconds();
  const double own = seconds / static_cast<double>(rows);
  seconds_per_row_ = seconds_per_row_ == 0 ? own : (1 - kNewest) * seconds_per_row_ + kNewest * own;
  counts_.step_seconds += seconds;
  clients_.give(active.job.client, rows);
  ++counts_.steps;
  counts_.prompt_tokens += rows;
  Event event{.part = active.job.part, .last = true};
  if (vectors) {
    std::ranges::move(*vectors, std::back_inserter(active.vectors));
    if (active.vectors.size() < active.job.inputs.size()) return;
    event.finish = run::FinishReason::kStop;
    event.vectors = std::move(active.vectors);
  } else {
    event.error = std::move(vectors.error());
  }
  ends_.emplace_back(active.job.channel, std::move(event));
  active.job.inputs.clear();
}

void VectorWorker::tell_ends() {
  for (auto& [channel, event] : ends_) channel->push(std::move(event));
  ends_.clear();
}

void VectorWorker::end_rest() {
  tell_ends();
  for (const Active& active : jobs_) {
    active.job.channel->push({.part = active.job.part, .error = ended_error(), .last = true});
    clients_.leave(active.job.client);
  }
  jobs_.clear();
}

Result<std::vector<std::vector<float>>> VectorWorker::run(const Active& active, std::span<const embed::Input> inputs) {
  if (settings_ != nullptr) return embed::embed(runner_, *settings_, active.job.options, inputs);
  LAMINA_ASSIGN(const std::vector<float> scores, embed::rerank(runner_, inputs));
  std::vector<std::vector<float>> vectors;
  for (const float score : scores) vectors.push_back({score});
  return vectors;
}

}  // namespace lamina::serve
