#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "layers/profile.h"
#include "run/runner.h"

namespace lamina::serve {

/// Time that passed, and bytes of weights and of the cache that were read.
struct LayerWork {
  double seconds = 0;
  int64_t bytes = 0;
};

/// What one part of a layer did in the steps that were watched, by layers::StepKind.
struct PartWork {
  int visit = -1;  ///< place in the route; -1: the embedding or the head
  int layer = -1;
  std::string part;
  std::array<LayerWork, 2> work{};
};

/// Sums since the start.
struct LayerSums {
  std::array<int64_t, 2> steps{};   ///< that were watched, by layers::StepKind
  std::array<double, 2> seconds{};  ///< of these
  std::vector<PartWork> parts{};    ///< in the order in which a step comes to them
};

/// Looks at every so many-th step of a runner, and adds up where its time went. Between begin() and end() the runner
/// tells a profile; else it tells nobody, which costs nothing.
class LayerWatch {
 public:
  /// `every` 0: never.
  explicit LayerWatch(int64_t every) : every_(every), profile_(kEvents) {}

  /// Before a step of the runner may come, on the thread that computes.
  void begin(run::Runner& runner);
  /// After it; `stepped`: whether there was one.
  void end(run::Runner& runner, bool stepped);
  /// From any thread.
  LayerSums sums() const;
  int64_t every() const { return every_; }

 private:
  static constexpr size_t kEvents = 1 << 13;

  void add(layers::StepKind kind);

  int64_t every_;
  int64_t steps_ = 0;
  bool watching_ = false;
  layers::Profile profile_;
  mutable std::mutex mutex_;
  LayerSums sums_;
};

}  // namespace lamina::serve
