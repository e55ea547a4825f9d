#include "serve/vectors.h"

#include <algorithm>

#include "embed/rerank.h"

namespace lamina::serve {

using core::Result;

VectorWorker::VectorWorker(run::Runner& runner, const embed::Settings* settings)
    : runner_(runner), settings_(settings) {}

void VectorWorker::add(VectorJob job) {
  jobs_.push_back({.job = std::move(job)});
}

WorkerCounts VectorWorker::counts() const {
  WorkerCounts counts = counts_;
  counts.running = jobs_.empty() ? 0 : 1;
  counts.waiting = std::max<int64_t>(0, std::ssize(jobs_) - 1);
  return counts;
}

bool VectorWorker::step() {
  counts_.cancelled +=
      static_cast<int64_t>(std::erase_if(jobs_, [](const Active& one) { return one.job.channel->cancelled(); }));
  if (jobs_.empty()) return false;
  Active& active = jobs_.front();
  const auto rest = std::span(active.job.inputs).subspan(active.vectors.size());
  size_t count = 0;
  int64_t rows = 0;
  while (count < rest.size() && (count == 0 || rows + std::ssize(rest[count].ids) <= runner_.options().max_rows))
    rows += std::ssize(rest[count++].ids);
  auto vectors = run(active, rest.first(count));
  ++counts_.steps;
  counts_.prompt_tokens += rows;
  if (!vectors) {
    active.job.channel->push({.part = active.job.part, .error = std::move(vectors.error()), .last = true});
    jobs_.pop_front();
    return true;
  }
  std::ranges::move(*vectors, std::back_inserter(active.vectors));
  if (active.vectors.size() < active.job.inputs.size()) return true;
  active.job.channel->push({.part = active.job.part,
                            .finish = run::FinishReason::kStop,
                            .vectors = std::move(active.vectors),
                            .last = true});
  jobs_.pop_front();
  return true;
}

void VectorWorker::end_rest() {
  for (const Active& active : jobs_)
    active.job.channel->push({.part = active.job.part, .error = ended_error(), .last = true});
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
