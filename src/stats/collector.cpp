#include "stats/collector.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/checksum.h"

namespace lamina::stats {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

namespace {

/// Columns that are summed together in registers.
constexpr int64_t kColumns = 64;
/// Matrices whose rows are fewer than this are summed by one thread.
constexpr int64_t kShared = 1 << 14;

/// Sums of squares of columns [begin, end) over the rows, in float32.
void sum_squares(const layers::InputRows& rows, int64_t begin, int64_t end, float* sums) {
  for (int64_t first = begin; first < end; first += kColumns) {
    const int64_t width = std::min(kColumns, end - first);
    std::array<float, kColumns> part{};
    for (int64_t r = 0; r < rows.count; ++r) {
      const float* x = rows.data + r * rows.stride + first;
      for (int64_t c = 0; c < width; ++c) part[static_cast<size_t>(c)] += x[c] * x[c];
    }
    std::copy_n(part.begin(), width, sums + first);
  }
}

constexpr size_t kLanes = 4;
using Lanes = std::array<double, kLanes>;

double fold(const Lanes& lanes) {
  return (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
}

/// What a row of the stream tells: its own part of PartStats. Sums run over lanes that take the numbers by turns.
PartStats measure_row(const float* before, const float* after, int64_t hidden) {
  Lanes squares{};
  Lanes squares_after{};
  Lanes products{};
  Lanes squares_added{};
  const auto take = [&](size_t lane, double x, double y) {
    squares[lane] += x * x;
    squares_after[lane] += y * y;
    products[lane] += x * y;
    squares_added[lane] += (y - x) * (y - x);
  };
  int64_t i = 0;
  for (; i + static_cast<int64_t>(kLanes) <= hidden; i += static_cast<int64_t>(kLanes)) {
    for (size_t lane = 0; lane < kLanes; ++lane) take(lane, before[i + lane], after[i + lane]);
  }
  for (size_t lane = 0; i < hidden; ++i, ++lane) take(lane, before[i], after[i]);
  const double square = fold(squares);
  const double square_after = fold(squares_after);
  const double product = fold(products);
  const double square_added = fold(squares_added);
  PartStats row;
  const double both = std::sqrt(square * square_after);
  row.cosine = both > 0 ? product / both : 1;
  row.contribution = square > 0 ? std::sqrt(square_added / square) : 0;
  row.length_before = std::sqrt(square / static_cast<double>(hidden));
  row.length_after = std::sqrt(square_after / static_cast<double>(hidden));
  return row;
}

void add(PartStats& sum, const PartStats& one) {
  sum.rows += one.rows;
  sum.cosine += one.cosine;
  sum.contribution += one.contribution;
  sum.length_before += one.length_before;
  sum.length_after += one.length_after;
  sum.voids += one.voids;
}

}  // namespace

Collector::Collector(const models::Model& model, core::ThreadPool& pool, const CollectorOptions& options)
    : model_(model), pool_(pool), options_(options), adder_(pool) {
  for (const format::NamedTensor& tensor : model.files().tensors())
    matrices_.push_back({.tensor = std::string(tensor.name)});
  if (options.attention) attention_.emplace();
}

/// The tensor of the file in which the matrix lies, and which matrix of it.
Collector::Place Collector::place_of(const layers::Linear& linear) {
  const auto known = places_.find(&linear);
  if (known != places_.end()) return known->second;
  const auto tensors = model_.files().tensors();
  const core::TensorView& own = linear.source();
  Place place{.tensor = tensors.size()};
  for (size_t i = 0; i < tensors.size(); ++i) {
    const core::TensorView& whole = tensors[i].view;
    const std::ptrdiff_t at = own.data - whole.data;
    if (at < 0 || at >= whole.bytes() || own.bytes() == 0) continue;
    place = {.tensor = i, .matrix = at / own.bytes()};
    MatrixStats& stats = matrices_[i];
    const auto matrices = static_cast<size_t>(std::max<int64_t>(whole.bytes() / own.bytes(), 1));
    stats.inputs = linear.columns();
    stats.rows.resize(matrices);
    stats.squares.resize(matrices * static_cast<size_t>(linear.columns()));
    break;
  }
  places_[&linear] = place;
  return place;
}

/// A place for the Gram matrix of what `reader` reads, or -1 when there is no room.
int Collector::new_gram(const layers::Linear& reader) {
  const size_t tensor = place_of(reader).tensor;
  if (counted_.insert(tensor).second) {
    const int64_t matrices = std::ssize(matrices_[tensor].rows);
    gram_count_ += matrices;
    gram_bytes_ += matrices * triangle_size(reader.inputs()) * static_cast<int64_t>(sizeof(double));
  }
  if (gram_bytes_ > options_.most_gram_bytes) return -1;
  grams_.emplace_back(reader.inputs());
  return static_cast<int>(grams_.size()) - 1;
}

/// Matrices that are read together share one Gram matrix; one that is read in changing company has none.
void Collector::record_gram(std::span<const layers::Linear* const> readers, const layers::InputRows& rows) {
  constexpr int kUnseen = -1;
  constexpr int kMixed = -2;
  int shared = kUnseen;
  bool first = true;
  for (const layers::Linear* linear : readers) {
    const Place place = place_of(*linear);
    if (place.tensor == matrices_.size()) continue;
    MatrixStats& stats = matrices_[place.tensor];
    stats.grams.resize(stats.rows.size(), kUnseen);
    int& own = stats.grams[static_cast<size_t>(place.matrix)];
    if (first) shared = own == kUnseen ? new_gram(*linear) : own;
    first = false;
    if (own != shared) own = own == kUnseen ? shared : kMixed;
  }
  if (shared < 0 || !status_) return;
  status_ = adder_.add(rows, grams_[static_cast<size_t>(shared)]);
}

Status Collector::status() const {
  if (!status_ || gram_bytes_ <= options_.most_gram_bytes) return status_;
  constexpr int64_t kMegabyte = 1 << 20;
  return fail(ErrorCode::kLimit, "Gram matrices",
              "{} of them take {} MiB of memory, {} MiB may be used; statistics without them take little", gram_count_,
              gram_bytes_ / kMegabyte + 1, options_.most_gram_bytes / kMegabyte);
}

void Collector::record(std::span<const layers::Linear* const> readers, const layers::InputRows& rows) {
  if (options_.grams && rows.count > 0) record_gram(readers, rows);
  std::array<const MatrixStats*, 8> seen{};
  size_t count = 0;
  for (const layers::Linear* linear : readers) {
    const Place place = place_of(*linear);
    if (place.tensor == matrices_.size()) continue;
    MatrixStats& stats = matrices_[place.tensor];
    // Queries, keys and values may be parts of one tensor, which then reads these rows once.
    if (std::ranges::find(seen, &stats) != seen.end()) continue;
    seen[count++ % seen.size()] = &stats;
    if (count == 1) sum_step(rows, stats.inputs);
    stats.rows[static_cast<size_t>(place.matrix)] += rows.count;
    double* sums = stats.squares.data() + place.matrix * stats.inputs;
    for (int64_t i = 0; i < stats.inputs; ++i) sums[i] += double{step_squares_[static_cast<size_t>(i)]};
  }
}

/// Sums of squares of the rows at hand, which all that read them add to their own.
void Collector::sum_step(const layers::InputRows& rows, int64_t inputs) {
  step_squares_.resize(std::max(step_squares_.size(), static_cast<size_t>(inputs)));
  float* sums = step_squares_.data();
  if (rows.count * inputs < kShared) {
    sum_squares(rows, 0, inputs, sums);
    return;
  }
  pool_.run([&](int index, int threads) {
    const core::Range range = core::split_range(inputs, kColumns, index, threads);
    sum_squares(rows, range.begin, range.end, sums);
  });
}

/// A copy of the stream, made by all threads.
void Collector::keep(const run::Border& border, const float* stream, std::vector<float>& copy) {
  copy.resize(static_cast<size_t>(border.rows * border.hidden));
  pool_.run([&](int index, int threads) {
    const core::Range range = core::split_range(border.rows, 1, index, threads);
    std::copy(stream + range.begin * border.hidden, stream + range.end * border.hidden,
              copy.begin() + range.begin * border.hidden);
  });
}

void Collector::at_border(const run::Border& border, float* stream) {
  if (border.visit >= 0) measure(border, "layer", before_layer_.data(), stream);
  if (border.visit < 0) most_.clear();
  keep(border, stream, before_layer_);
}

void Collector::before_part(const run::Border& border, std::string_view /*role*/, const float* stream) {
  keep(border, stream, before_part_);
}

void Collector::after_part(const run::Border& border, std::string_view role, const float* stream) {
  measure(border, role, before_part_.data(), stream);
}

void Collector::measure(const run::Border& border, std::string_view role, const float* before, const float* after) {
  by_row_.resize(static_cast<size_t>(border.rows));
  pool_.run([&](int index, int threads) {
    const core::Range range = core::split_range(border.rows, 1, index, threads);
    for (int64_t r = range.begin; r < range.end; ++r)
      by_row_[static_cast<size_t>(r)] =
          measure_row(before + r * border.hidden, after + r * border.hidden, border.hidden);
  });
  find_voids(role);
  PartStats& sum = parts_[{border.layer, std::string(role)}];
  for (const PartStats& row : by_row_) add(sum, row);
  sum.rows += border.rows;
}

/// L2 adaptive computation, row by row, for what was just measured.
void Collector::find_voids(std::string_view role) {
  auto found = most_.find(role);
  if (found == most_.end()) found = most_.emplace(role, std::vector<double>()).first;
  std::vector<double>& most = found->second;
  if (most.size() != by_row_.size()) most.assign(by_row_.size(), 0);
  for (size_t r = 0; r < by_row_.size(); ++r) {
    const double change = std::abs(by_row_[r].length_after - by_row_[r].length_before);
    by_row_[r].voids = change < kVoidShare * most[r] ? 1 : 0;
    most[r] = std::max(most[r], change);
  }
}

Statistics Collector::finish() {
  Statistics out{.model = fingerprint(model_.files())};
  for (const MatrixStats& stats : matrices_) {
    if (stats.rows.empty()) continue;
    out.matrices.push_back(stats);
    for (int& index : out.matrices.back().grams) index = std::max(index, -1);
  }
  out.grams = std::move(grams_);
  out.experts = experts_.sums();
  if (attention_) out.attention = attention_->sums();
  for (const auto& [key, sum] : parts_) {
    PartStats part = sum;
    part.layer = key.first;
    part.role = key.second;
    out.parts.push_back(std::move(part));
  }
  return out;
}

namespace {

/// Takes a collector off a runner however the pass ends.
class Attached {
 public:
  Attached(run::Runner& runner, Collector& collector) : runner_(runner) {
    runner.set_recorder(&collector);
    runner.set_hook(&collector);
  }
  ~Attached() {
    runner_.set_recorder(nullptr);
    runner_.set_hook(nullptr);
  }
  Attached(const Attached&) = delete;
  Attached& operator=(const Attached&) = delete;

 private:
  run::Runner& runner_;
};

Status read_window(run::Runner& runner, std::span<const int32_t> tokens) {
  LAMINA_ASSIGN(const cache::SequenceId sequence, runner.open());
  std::vector<run::BatchRow> rows;
  Status status;
  const auto most = static_cast<size_t>(runner.options().max_rows);
  for (size_t at = 0; status && at < tokens.size(); at += rows.size()) {
    rows.clear();
    for (const int32_t token : tokens.subspan(at, std::min(most, tokens.size() - at)))
      rows.push_back({.token = token, .sequence = sequence});
    status = runner.step(rows, {});
  }
  runner.close(sequence);
  return status;
}

}  // namespace

Result<Statistics> collect(run::Runner& runner, core::ThreadPool& pool, std::span<const int32_t> tokens,
                           const PassOptions& options, const PassProgress& progress) {
  const auto total = static_cast<int64_t>(tokens.size()) / options.window * options.window;
  if (total == 0) {
    return fail(ErrorCode::kInvalid, "calibration text", "{} tokens; at least one window of {} expected", tokens.size(),
                options.window);
  }
  Collector collector(runner.model(), pool, options.collector);
  const Attached attached(runner, collector);
  for (int64_t at = 0; at < total; at += options.window) {
    if (progress && !progress(at, total)) return fail(ErrorCode::kCancelled, "statistics", "cancelled");
    LAMINA_CHECK_OK(read_window(runner, tokens.subspan(static_cast<size_t>(at), static_cast<size_t>(options.window))));
    LAMINA_CHECK_OK(collector.status());
  }
  Statistics out = collector.finish();
  out.tokens = total;
  const auto text = tokens.first(static_cast<size_t>(total));
  out.texts = fmt::format("{:016x}", core::checksum(std::as_bytes(text)));
  return out;
}

}  // namespace lamina::stats
