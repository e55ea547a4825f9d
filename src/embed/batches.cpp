#include "embed/batches.h"

#include <algorithm>
#include <numeric>
#include <tuple>

namespace lamina::embed {

using core::ErrorCode;
using core::fail;

namespace {

/// Sequences that are open while inputs run.
class Sequences {
 public:
  explicit Sequences(run::Runner& runner) : runner_(runner) {}
  Sequences(const Sequences&) = delete;
  Sequences& operator=(const Sequences&) = delete;
  ~Sequences() {
    for (const cache::SequenceId id : ids_) runner_.close(id);
  }

  core::Status open(size_t count) {
    while (ids_.size() < count) {
      LAMINA_ASSIGN(const cache::SequenceId id, runner_.open());
      ids_.push_back(id);
    }
    return {};
  }
  void clear() {
    for (const cache::SequenceId id : ids_) std::ignore = runner_.truncate(id, 0);
  }
  cache::SequenceId operator[](size_t index) const { return ids_[index]; }

 private:
  run::Runner& runner_;
  std::vector<cache::SequenceId> ids_;
};

core::Status check(const run::RunnerOptions& options, std::span<const Input> inputs) {
  const auto longest = static_cast<size_t>(std::min(options.context, options.max_rows));
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].ids.empty()) return fail(ErrorCode::kInvalid, "text", "text {} has no tokens", i);
    if (inputs[i].ids.size() > longest) {
      return fail(ErrorCode::kLimit, "text", "text {} has {} tokens; at most {} expected", i, inputs[i].ids.size(),
                  longest);
    }
  }
  return {};
}

}  // namespace

core::Status run_inputs(run::Runner& runner, std::span<const Input> inputs, bool wants_logits, const StepDone& done) {
  const run::RunnerOptions& options = runner.options();
  LAMINA_CHECK_OK(check(options, inputs));
  std::vector<size_t> order(inputs.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::sort(order, [&](size_t a, size_t b) {
    const size_t first = inputs[a].ids.size();
    const size_t second = inputs[b].ids.size();
    return first != second ? first > second : a < b;
  });
  Sequences sequences(runner);
  std::vector<run::BatchRow> rows;
  std::vector<float> logits;
  for (size_t begin = 0; begin < order.size();) {
    rows.clear();
    size_t end = begin;
    while (end < order.size() && end - begin < static_cast<size_t>(options.sequences)) {
      const Input& input = inputs[order[end]];
      if (rows.size() + input.ids.size() > static_cast<size_t>(options.max_rows)) break;
      LAMINA_CHECK_OK(sequences.open(end - begin + 1));
      for (size_t i = 0; i < input.ids.size(); ++i) {
        rows.push_back({.token = input.ids[i],
                        .sequence = sequences[end - begin],
                        .wants_logits = wants_logits && i == 0,
                        .type = input.types.empty() ? 0 : input.types[i]});
      }
      ++end;
    }
    if (wants_logits) logits.resize((end - begin) * static_cast<size_t>(runner.model().head().outputs()));
    LAMINA_CHECK_OK(runner.step(rows, logits));
    sequences.clear();
    done(std::span(order).subspan(begin, end - begin), logits);
    begin = end;
  }
  return {};
}

}  // namespace lamina::embed
