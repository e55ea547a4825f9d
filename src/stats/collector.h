#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "core/thread_pool.h"
#include "layers/input_recorder.h"
#include "run/runner.h"
#include "stats/statistics.h"

namespace lamina::stats {

/// Which sums are kept besides those of squares.
struct CollectorOptions {
  bool attention = false;  ///< how heads spread their attention
  bool grams = false;
  int64_t most_gram_bytes = 0;  ///< with grams: bytes that their totals may take
};

/// Sums up what matrices read and what parts add while a runner works. Memory: one number for each input of each
/// matrix, and one copy of a step's stream; with Gram matrices, half of inputs squared float64 for each distinct input.
class Collector : public layers::InputRecorder, public run::BorderHook {
 public:
  Collector(const models::Model& model, core::ThreadPool& pool, const CollectorOptions& options = {});

  void record(std::span<const layers::Linear* const> readers, const layers::InputRows& rows) override;
  void record_experts(const layers::ExpertChoices& choices) override { experts_.add(choices); }
  layers::AttentionRecorder* attention() override { return attention_ ? &*attention_ : nullptr; }
  void at_border(const run::Border& border, float* stream) override;
  void before_part(const run::Border& border, std::string_view role, const float* stream) override;
  void after_part(const run::Border& border, std::string_view role, const float* stream) override;

  /// kLimit: the Gram matrices of what was seen take more than they may; they are not collected any further.
  core::Status status() const;
  /// What was seen so far, in the order of the file's tensors and of the layers. Takes the Gram matrices along.
  Statistics finish();

 private:
  /// A matrix's place in the result.
  struct Place {
    size_t tensor = 0;
    int64_t matrix = 0;
  };
  Place place_of(const layers::Linear& linear);
  void record_gram(std::span<const layers::Linear* const> readers, const layers::InputRows& rows);
  int new_gram(const layers::Linear& reader);
  void sum_step(const layers::InputRows& rows, int64_t inputs);
  void keep(const run::Border& border, const float* stream, std::vector<float>& copy);
  void measure(const run::Border& border, std::string_view role, const float* before, const float* after);
  void find_voids(std::string_view role);

  const models::Model& model_;
  core::ThreadPool& pool_;
  std::map<const layers::Linear*, Place> places_;
  std::vector<MatrixStats> matrices_;  ///< one for each tensor of the file; those that nothing read are empty
  std::map<std::pair<int, std::string>, PartStats> parts_;
  std::vector<float> step_squares_;
  std::vector<float> before_part_;
  std::vector<float> before_layer_;
  std::vector<PartStats> by_row_;
  std::map<std::string, std::vector<double>, std::less<>> most_;  ///< by role and row, the largest change of its length
  ExpertSums experts_;
  std::optional<AttentionSums> attention_;
  CollectorOptions options_;
  GramAdder adder_;
  std::vector<Gram> grams_;
  std::set<size_t> counted_;  ///< tensors whose Gram matrices are in gram_bytes_
  int64_t gram_bytes_ = 0;    ///< of all that were asked for, those of experts to come among them
  int64_t gram_count_ = 0;
  core::Status status_;
};

/// How a text is read.
struct PassOptions {
  int64_t window = 512;  ///< tokens read together; what remains of the text is left out
  CollectorOptions collector{};
};

/// Told how many of the tokens are done; returning false cancels.
using PassProgress = std::function<bool(int64_t done, int64_t total)>;

/// Runs the text through the model, window by window, and returns what was seen. kInvalid: less than one window, with
/// both numbers; kCancelled; kLimit: the Gram matrices do not fit.
core::Result<Statistics> collect(run::Runner& runner, core::ThreadPool& pool, std::span<const int32_t> tokens,
                                 const PassOptions& options, const PassProgress& progress);

}  // namespace lamina::stats
