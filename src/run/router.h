#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "run/runner.h"

namespace lamina::run {

/// Decides once for each text by which route it is written: of every layer that it decides on, linear functions of what
/// the layer reads of the prompt. What is read are the mean directions of some windows that share the prompt evenly.
struct Router {
  enum class Kind {
    /// FiRST: one function tells what leaving the layer out would cost (the logarithm of nats); below the threshold it
    /// is left out of what follows the prompt.
    kSkip,
    /// Dr.LLM: functions of leaving the layer out, running it once and running it twice; the first or the last one
    /// counts where it exceeds the second by more than the threshold. The prompt itself is read again by that route.
    kRepeat,
  };

  Kind kind = Kind::kSkip;
  std::string model{};  ///< the fingerprint of the files that it was fitted on
  int64_t hidden = 0;
  int64_t windows = 1;
  double threshold = 0;
  std::vector<int> layers{};      ///< that it decides on, in rising order
  std::vector<float> weights{};   ///< [layers, outputs, windows, hidden], of rows of a root mean square of 1
  std::vector<double> offsets{};  ///< [layers, outputs]

  int64_t outputs() const { return kind == Kind::kSkip ? 1 : 3; }
  /// Of that layer, by its place in `layers`: how often it runs, from the outputs' values.
  int count(std::span<const double> values) const;
};

/// What recipes call routers of that kind.
std::string_view router_kind_name(Router::Kind kind);

/// Divides a row by its root mean square and adds it, times `scale`, to `sums`.
void add_direction(const float* row, int64_t hidden, double scale, double* sums);

/// Positions of a window of a prompt. Windows share it evenly; those of a prompt with fewer tokens than windows have
/// one token each, some the same one.
struct WindowRange {
  int64_t begin = 0;
  int64_t end = 0;
};
WindowRange window_range(int64_t length, int64_t windows, int64_t window);

/// Writes a router as a safetensors file, whole or not at all.
core::Status save(const Router& router, const std::filesystem::path& path);
/// kCorrupt where the file is not one that save() wrote.
core::Result<Router> load_router(const std::filesystem::path& path);

/// The visits besides those of a route for which a router's decisions need a place in the cache
/// (RunnerOptions::spare): its layers once more, if it lets them run twice.
std::vector<recipe::Visit> spare_visits(const Router& router, std::span<const recipe::Visit> route);

/// Adds up, row by row of the stream, what a router reads of the prompts that a runner computes. The sums of a sequence
/// are made in the order of its positions, so they do not depend on steps, batches and threads.
class RouterReader : public BorderHook {
 public:
  /// kUnsupported: a model of another width, without the router's layers, whose route is not one visit of each, or a
  /// runner without the spare visits.
  static core::Result<RouterReader> create(const Router& router, const Runner& runner);

  /// From now on reads a sequence's first `length` tokens, at least one.
  void begin(cache::SequenceId sequence, int64_t length);
  void at_border(const Border& border, float* stream) override;
  /// The route of a sequence whose tokens were read, which is forgotten. kInvalid: they were not, or no layer is left.
  core::Result<Route> decide(const Runner& runner, cache::SequenceId sequence);
  void forget(cache::SequenceId sequence) { sums_.erase(sequence.index); }

  const Router& router() const { return *router_; }

 private:
  explicit RouterReader(const Router& router) : router_(&router) {}

  struct Sums {
    int64_t length = 0;            ///< of the prompt
    int64_t rows = 0;              ///< read
    std::vector<double> values{};  ///< [router's layers, outputs]
  };
  void add(int64_t layer, int64_t position, const float* row, Sums& sums) const;

  const Router* router_;
  std::vector<int> reads_;  ///< by border, from that after the embedding on: the router's layer that follows, or -1
  std::map<int32_t, Sums> sums_;  ///< by sequence
};

}  // namespace lamina::run
