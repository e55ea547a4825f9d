#include "eval/scoring.h"

#include <algorithm>
#include <optional>

#include "eval/metrics.h"

namespace lamina::eval {
namespace {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

constexpr int64_t kStepRows = 512;
constexpr int64_t kStepSequences = 32;
constexpr int64_t kLogitBytes = int64_t{64} << 20;

/// The first input of a sequence whose logits are wanted.
int64_t first_wanted(const ScoredSequence& sequence) {
  return sequence.first_target - 1;
}

int64_t wanted_in(const ScoredSequence& sequence, const Slice& slice) {
  return std::max<int64_t>(0, slice.end - std::max(slice.begin, first_wanted(sequence)));
}

int64_t most_wanted(int64_t vocabulary) {
  return std::max<int64_t>(1, kLogitBytes / (vocabulary * static_cast<int64_t>(sizeof(float))));
}

class RunnerLogits : public LogitSource {
 public:
  RunnerLogits(run::Runner& runner, std::span<const ScoredSequence> sequences, const run::Route* route)
      : runner_(runner), sequences_(sequences), route_(route) {}
  ~RunnerLogits() override {
    if (open_) runner_.close(*open_);
  }

  int64_t vocabulary() const override { return runner_.model().vocabulary(); }

  Result<std::span<const float>> step(std::span<const Slice> slices) override {
    rows_.clear();
    std::vector<cache::SequenceId> finished;
    size_t wanted = 0;
    for (const Slice& slice : slices) {
      const ScoredSequence& sequence = sequences_[slice.sequence];
      if (slice.begin == 0) {
        LAMINA_ASSIGN(open_, runner_.open());
      }
      const cache::SequenceId id = *open_;
      for (int64_t i = slice.begin; i < slice.end; ++i) {
        rows_.push_back({.token = sequence.tokens[static_cast<size_t>(i)],
                         .sequence = id,
                         .wants_logits = i >= first_wanted(sequence)});
      }
      wanted += static_cast<size_t>(wanted_in(sequence, slice));
      if (slice.end < sequence.inputs()) continue;
      finished.push_back(id);
      open_.reset();
    }
    logits_.resize(std::max(logits_.size(), wanted * static_cast<size_t>(vocabulary())));
    const Status status = runner_.step(rows_, logits_, route_);
    for (const cache::SequenceId id : finished) runner_.close(id);
    LAMINA_CHECK_OK(status);
    return std::span<const float>(logits_).first(wanted * static_cast<size_t>(vocabulary()));
  }

 private:
  run::Runner& runner_;
  std::span<const ScoredSequence> sequences_;
  const run::Route* route_;
  std::optional<cache::SequenceId> open_;  ///< the sequence that the next step continues
  std::vector<run::BatchRow> rows_;
  std::vector<float> logits_;
};

class FileLogits : public LogitSource {
 public:
  FileLogits(const format::NpyFile& file, std::span<const ScoredSequence> sequences, bool every_token)
      : file_(file), sequences_(sequences) {
    int64_t row = 0;
    for (const ScoredSequence& sequence : sequences) {
      // The row of the sequence's input 0, were it there.
      first_rows_.push_back(every_token ? row : row - first_wanted(sequence));
      row += every_token ? static_cast<int64_t>(sequence.tokens.size()) : sequence.targets();
    }
  }

  int64_t vocabulary() const override { return file_.row_elements(); }

  Result<std::span<const float>> step(std::span<const Slice> slices) override {
    logits_.clear();
    for (const Slice& slice : slices) {
      const int64_t begin = std::max(slice.begin, first_wanted(sequences_[slice.sequence]));
      for (int64_t i = begin; i < slice.end; ++i) {
        const std::span<const float> row = file_.row(first_rows_[slice.sequence] + i);
        logits_.insert(logits_.end(), row.begin(), row.end());
      }
    }
    return std::span<const float>(logits_);
  }

 private:
  const format::NpyFile& file_;
  std::span<const ScoredSequence> sequences_;
  std::vector<int64_t> first_rows_;
  std::vector<float> logits_;
};

/// Cuts the sequences, laid end to end, into steps.
class Stepper {
 public:
  Stepper(std::span<const ScoredSequence> sequences, StepShape shape, int64_t vocabulary)
      : sequences_(sequences), shape_(shape), most_wanted_(most_wanted(vocabulary)) {}

  /// Fills `slices` with the next step; empty at the end.
  void next(std::vector<Slice>& slices) {
    slices.clear();
    int64_t rows = shape_.rows;
    int64_t wanted = most_wanted_;
    while (sequence_ < sequences_.size() && rows > 0 && wanted > 0 &&
           static_cast<int32_t>(slices.size()) < shape_.sequences) {
      const ScoredSequence& sequence = sequences_[sequence_];
      const int64_t free_rows = std::max<int64_t>(0, first_wanted(sequence) - begin_);
      const int64_t end = std::min({sequence.inputs(), begin_ + rows, begin_ + free_rows + wanted});
      slices.push_back({sequence_, begin_, end});
      rows -= end - begin_;
      wanted -= wanted_in(sequence, slices.back());
      const bool done = end == sequence.inputs();
      sequence_ += done ? 1 : 0;
      begin_ = done ? 0 : end;
    }
  }

 private:
  std::span<const ScoredSequence> sequences_;
  StepShape shape_;
  int64_t most_wanted_;
  size_t sequence_ = 0;
  int64_t begin_ = 0;
};

/// Values of all targets, in order.
struct Values {
  std::vector<double> nll;
  std::vector<double> hits;
  std::vector<double> reference_nll;
  std::vector<double> kl;
  std::vector<double> agreement;
};

struct RowPair {
  std::span<const float> model;
  std::span<const float> reference;  ///< empty without a reference
  int32_t target = 0;
};

Status measure_row(const RowPair& row, size_t index, Values& values) {
  LAMINA_ASSIGN(values.nll[index], negative_log_likelihood(row.model, row.target));
  LAMINA_ASSIGN(const int32_t best, top1(row.model));
  values.hits[index] = best == row.target ? 1 : 0;
  if (row.reference.empty()) return {};
  LAMINA_ASSIGN(values.reference_nll[index], negative_log_likelihood(row.reference, row.target));
  LAMINA_ASSIGN(values.kl[index], kl_divergence(row.reference, row.model));
  LAMINA_ASSIGN(const bool same, same_top1(row.reference, row.model));
  values.agreement[index] = same ? 1 : 0;
  return {};
}

/// Measures the targets of one step, whose values begin at `first`.
Status measure_step(std::span<const int32_t> targets, std::span<const float> model, std::span<const float> reference,
                    size_t first, core::ThreadPool& pool, Values& values) {
  std::vector<Status> statuses(static_cast<size_t>(pool.threads()));
  const size_t vocabulary = model.size() / targets.size();
  pool.run([&](int index, int threads) {
    const core::Range range = core::split_range(static_cast<int64_t>(targets.size()), 1, index, threads);
    for (auto i = static_cast<size_t>(range.begin); i < static_cast<size_t>(range.end); ++i) {
      const RowPair row{model.subspan(i * vocabulary, vocabulary),
                        reference.empty() ? reference : reference.subspan(i * vocabulary, vocabulary), targets[i]};
      Status status = measure_row(row, first + i, values);
      if (status) continue;
      statuses[static_cast<size_t>(index)] = std::move(status);
      return;
    }
  });
  for (Status& status : statuses) LAMINA_CHECK_OK(std::move(status));
  return {};
}

Windows group(std::span<const ScoredSequence> sequences, std::span<const double> values) {
  Windows windows;
  size_t at = 0;
  for (const ScoredSequence& sequence : sequences) {
    if (values.empty()) break;
    const auto count = static_cast<size_t>(sequence.targets());
    windows.add(values.subspan(at, count));
    at += count;
  }
  return windows;
}

void collect_targets(std::span<const ScoredSequence> sequences, std::span<const Slice> slices,
                     std::vector<int32_t>& targets) {
  targets.clear();
  for (const Slice& slice : slices) {
    const ScoredSequence& sequence = sequences[slice.sequence];
    for (int64_t i = std::max(slice.begin, first_wanted(sequence)); i < slice.end; ++i) {
      targets.push_back(sequence.tokens[static_cast<size_t>(i + 1)]);
    }
  }
}

}  // namespace

Result<std::vector<ScoredSequence>> cut_windows(std::span<const int32_t> tokens, int64_t size, int64_t first_target,
                                                int64_t limit) {
  if (first_target < 1 || first_target >= size) {
    return fail(ErrorCode::kInvalid, "windows", "of {} tokens, scored from {}; at least 2, and 1 to size - 1 expected",
                size, first_target);
  }
  auto count = static_cast<int64_t>(tokens.size()) / size;
  if (count == 0) {
    return fail(ErrorCode::kInvalid, "text",
                "{} tokens do not fill one window of {}; a longer text or a smaller --ctx would", tokens.size(), size);
  }
  if (limit > 0) count = std::min(count, limit);
  std::vector<ScoredSequence> windows;
  for (int64_t i = 0; i < count; ++i) {
    const auto begin = tokens.begin() + i * size;
    windows.push_back({.tokens = {begin, begin + size}, .first_target = first_target});
  }
  return windows;
}

std::unique_ptr<LogitSource> logits_of_runner(run::Runner& runner, std::span<const ScoredSequence> sequences,
                                              const run::Route* route) {
  return std::make_unique<RunnerLogits>(runner, sequences, route);
}

Result<std::unique_ptr<LogitSource>> logits_of_file(const format::NpyFile& file,
                                                    std::span<const ScoredSequence> sequences) {
  int64_t targets = 0;
  int64_t tokens = 0;
  for (const ScoredSequence& sequence : sequences) {
    targets += sequence.targets();
    tokens += static_cast<int64_t>(sequence.tokens.size());
  }
  if (file.shape().size() != 2 || (file.rows() != targets && file.rows() != tokens)) {
    return fail(ErrorCode::kInvalid, "reference logits",
                "{} rows in {} dimensions; [rows, vocabulary] with {} rows (the scored tokens) or {} (all) expected",
                file.rows(), file.shape().size(), targets, tokens);
  }
  return std::make_unique<FileLogits>(file, sequences, file.rows() == tokens);
}

StepShape step_shape(std::span<const ScoredSequence> sequences, int64_t vocabulary) {
  int64_t inputs = 0;
  int64_t wanted = 0;
  for (const ScoredSequence& sequence : sequences) {
    inputs += sequence.inputs();
    wanted += sequence.targets();
  }
  // The rows whose logits fill the limit, at this text's share of scored tokens.
  const int64_t rows =
      std::clamp(inputs * most_wanted(vocabulary) / std::max<int64_t>(1, wanted), int64_t{1}, kStepRows);
  const int64_t average = std::max<int64_t>(1, inputs / std::max<int64_t>(1, static_cast<int64_t>(sequences.size())));
  return {.rows = rows, .sequences = static_cast<int32_t>(std::clamp(rows / average + 2, int64_t{2}, kStepSequences))};
}

Result<Scores> score(std::span<const ScoredSequence> sequences, LogitSource& model, LogitSource* reference,
                     StepShape shape, core::ThreadPool& pool, const ScoreProgress& progress) {
  if (reference != nullptr && reference->vocabulary() != model.vocabulary()) {
    return fail(ErrorCode::kInvalid, "reference", "a vocabulary of {}, but the model has {}; the same expected",
                reference->vocabulary(), model.vocabulary());
  }
  size_t targets = 0;
  int64_t total = 0;
  for (const ScoredSequence& sequence : sequences) {
    targets += static_cast<size_t>(sequence.targets());
    total += sequence.inputs();
  }
  const size_t compared = reference == nullptr ? 0 : targets;
  Values values{.nll = std::vector<double>(targets),
                .hits = std::vector<double>(targets),
                .reference_nll = std::vector<double>(compared),
                .kl = std::vector<double>(compared),
                .agreement = std::vector<double>(compared)};
  Stepper stepper(sequences, shape, model.vocabulary());
  std::vector<Slice> slices;
  std::vector<int32_t> step_targets;
  size_t measured = 0;
  int64_t done = 0;
  for (stepper.next(slices); !slices.empty(); stepper.next(slices)) {
    collect_targets(sequences, slices, step_targets);
    LAMINA_ASSIGN(const std::span<const float> logits, model.step(slices));
    std::span<const float> expected;
    if (reference != nullptr) {
      LAMINA_ASSIGN(expected, reference->step(slices));
    }
    if (!step_targets.empty()) {
      LAMINA_CHECK_OK(measure_step(step_targets, logits, expected, measured, pool, values));
    }
    measured += step_targets.size();
    for (const Slice& slice : slices) done += slice.end - slice.begin;
    if (progress && !progress(done, total)) return fail(ErrorCode::kCancelled, "eval", "stopped");
  }
  return Scores{.nll = group(sequences, values.nll),
                .hits = group(sequences, values.hits),
                .reference_nll = group(sequences, values.reference_nll),
                .kl = group(sequences, values.kl),
                .agreement = group(sequences, values.agreement)};
}

}  // namespace lamina::eval
