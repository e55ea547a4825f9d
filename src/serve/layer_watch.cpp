#include "serve/layer_watch.h"

#include <algorithm>

namespace lamina::serve {

using layers::StepKind;

void LayerWatch::begin(run::Runner& runner) {
  if (every_ == 0 || steps_ % every_ != 0) return;
  watching_ = true;
  profile_.clear();
  runner.set_profile(&profile_);
}

void LayerWatch::end(run::Runner& runner, bool stepped) {
  if (stepped) ++steps_;
  if (!watching_) return;
  watching_ = false;
  runner.set_profile(nullptr);
  for (const StepKind kind : {StepKind::kReading, StepKind::kWriting}) {
    if (profile_.sums(kind).steps > 0) add(kind);
  }
}

/// Adds a step's operations up by layer and part. The profile forgets its own sums, which name matrices that may go.
void LayerWatch::add(StepKind kind) {
  const auto index = static_cast<size_t>(kind);
  const layers::StepSums& step = profile_.sums(kind);
  const std::lock_guard lock(mutex_);
  sums_.steps[index] += step.steps;
  sums_.seconds[index] += step.seconds;
  size_t at = 0;
  for (const layers::OpSum& operation : step.operations) {
    const layers::OpEvent& what = operation.what;
    const auto same = [&](const PartWork& one) { return one.visit == what.visit && one.part == what.role; };
    if (at >= sums_.parts.size() || !same(sums_.parts[at])) {
      at = static_cast<size_t>(std::ranges::find_if(sums_.parts, same) - sums_.parts.begin());
      if (at == sums_.parts.size())
        sums_.parts.push_back({.visit = what.visit, .layer = what.layer, .part = std::string(what.role)});
    }
    sums_.parts[at].work[index].seconds += operation.seconds;
    sums_.parts[at].work[index].bytes += what.cost.bytes;
  }
}

LayerSums LayerWatch::sums() const {
  const std::lock_guard lock(mutex_);
  return sums_;
}

}  // namespace lamina::serve
