#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <list>

#include "codec/encode.h"
#include "codec/mxfp4.h"
#include "compress/output_tensor.h"

namespace lamina::compress {

using core::ErrorCode;
using core::fail;
using core::Status;
using Change = OutputTensor::Change;
using Half = OutputTensor::Half;

namespace {

constexpr int64_t kPieceBytes = int64_t{8} << 20;
constexpr int64_t kCopyBytes = int64_t{32} << 20;
constexpr int64_t kRowsShare = 8;  ///< gptq wants a row of text for so many inputs

/// The logarithm whose power is -x to the last bit where a float32 near by is that, else the nearest.
float logarithm_of(float x) {
  constexpr int kSteps = 3;
  constexpr float kEnd = std::numeric_limits<float>::infinity();
  const float near = std::log(-x);
  for (const float end : {-kEnd, kEnd}) {
    float candidate = near;
    for (int i = 0; i <= kSteps; ++i, candidate = std::nextafter(candidate, end)) {
      if (-std::exp(candidate) == x) return candidate;
    }
  }
  return near;
}

/// Makes rows of one tensor; shared by all threads, each with its own buffers.
class RowMaker {
 public:
  explicit RowMaker(const OutputTensor& tensor, const Importance* importance = nullptr)
      : tensor_(tensor), to_(tensor.codec()), importance_(importance) {
    copies_ = copies_as(tensor, to_);
  }

  /// Whether the numbers stay as they are.
  bool copies() const { return copies_; }
  /// What errors in the inputs of row `index` cost, or null.
  const float* importance(int64_t index) const {
    const OutputTensor::Row& row = tensor_.rows[static_cast<size_t>(index)];
    return importance_of(tensor_.sources[static_cast<size_t>(row.source)], row.row);
  }
  /// The Gram matrix of what row `index` is multiplied by, or null.
  const stats::Gram* gram(int64_t index) const {
    const OutputTensor::Row& row = tensor_.rows[static_cast<size_t>(index)];
    const OutputTensor::Source& source = tensor_.sources[static_cast<size_t>(row.source)];
    if (importance_ == nullptr) return nullptr;
    const stats::Gram* found = importance_->find_gram(source.input_first ? source.view.data : source.view.row(row.row));
    return found == nullptr || found->inputs() != tensor_.inputs ? nullptr : found;
  }

  struct Buffers {
    std::vector<float> numbers;
    std::vector<float> decoded;
    std::vector<std::byte> whole;  ///< a row before it is halved
  };
  Buffers buffers() const {
    const auto count = static_cast<size_t>(copies_ ? 0 : tensor_.inputs);
    const bool whole = tensor_.half == Half::kWhole;
    return {std::vector<float>(count), std::vector<float>(count),
            std::vector<std::byte>(whole ? 0 : static_cast<size_t>(to_.format.row_bytes(tensor_.inputs)))};
  }
  /// Of what is stored.
  int64_t row_bytes() const {
    const int64_t bytes = to_.format.row_bytes(tensor_.inputs);
    const int64_t blocks = tensor_.half == Half::kWhole ? 0 : tensor_.inputs / codec::BlockMxfp4::kElements;
    return tensor_.half == Half::kWhole ? bytes : tensor_.half == Half::kPairs ? bytes - blocks : blocks;
  }

  /// Row `index` of the matrix in the target's format; fills its squared error.
  codec::RowFault make(int64_t index, Buffers& buffers, std::byte* out, double& error) const;
  /// The numbers of row `index`.
  void numbers(int64_t index, float* out) const {
    const OutputTensor::Row& row = tensor_.rows[static_cast<size_t>(index)];
    read(tensor_.sources[static_cast<size_t>(row.source)], row.row, out);
  }

 private:
  codec::RowFault make_whole(int64_t index, Buffers& buffers, std::byte* out, double& error) const;
  const float* importance_of(const OutputTensor::Source& source, int64_t row) const;
  void copy(const OutputTensor::Source& source, int64_t row, std::byte* out) const;
  void read(const OutputTensor::Source& source, int64_t row, float* out) const;

  const OutputTensor& tensor_;
  const codec::Codec& to_;
  const Importance* importance_ = nullptr;
  bool copies_ = false;
};

/// The inverse of join_mxfp4(): fills 16 bytes of pairs and returns the exponent.
uint8_t split_block(const codec::BlockMxfp4& block, uint8_t* pairs) {
  const auto number = [&block](int i) { return i < 16 ? block.qs[i] & 15 : block.qs[i - 16] >> 4; };
  for (int i = 0; i < 16; ++i) pairs[i] = static_cast<uint8_t>(number(2 * i) | number(2 * i + 1) << 4);
  return block.e;
}

/// The row's blocks of MXFP4 out of pairs and exponents.
void join_row(const OutputTensor::Source& source, int64_t row, int64_t inputs, std::byte* out) {
  const int64_t blocks = inputs / codec::BlockMxfp4::kElements;
  const auto* pairs = reinterpret_cast<const uint8_t*>(source.view.row(row));
  const auto* exponents = reinterpret_cast<const uint8_t*>(source.scales) + row * blocks;
  for (int64_t i = 0; i < blocks; ++i) {
    const codec::BlockMxfp4 block = codec::join_mxfp4(exponents[i], pairs + 16 * i);
    std::memcpy(out + static_cast<size_t>(i) * sizeof(block), &block, sizeof(block));
  }
}

void RowMaker::read(const OutputTensor::Source& source, int64_t row, float* out) const {
  const core::TensorView& view = source.view;
  const codec::Codec& from = source.codec();
  if (source.scales != nullptr) {
    std::vector<std::byte> joined(static_cast<size_t>(from.format.row_bytes(tensor_.inputs)));
    join_row(source, row, tensor_.inputs, joined.data());
    from.decode(joined.data(), tensor_.inputs, out);
  } else if (!source.input_first) {
    from.decode(view.row(row), tensor_.inputs, out);
  } else {
    const int64_t size = view.format->block_bytes;
    for (int64_t i = 0; i < tensor_.inputs; ++i) from.decode(view.row(i) + row * size, 1, out + i);
  }
  if (source.change == Change::kLogarithm) {
    for (int64_t i = 0; i < tensor_.inputs; ++i) out[i] = logarithm_of(out[i]);
  } else if (source.change == Change::kPower) {
    for (int64_t i = 0; i < tensor_.inputs; ++i) out[i] = -std::exp(out[i]);
  }
  if (source.offset == 0) return;
  for (int64_t i = 0; i < tensor_.inputs; ++i) out[i] += source.offset;
}

void RowMaker::copy(const OutputTensor::Source& source, int64_t row, std::byte* out) const {
  if (source.scales != nullptr) return join_row(source, row, tensor_.inputs, out);
  if (!source.input_first) {
    std::memcpy(out, source.view.row(row), static_cast<size_t>(to_.format.row_bytes(tensor_.inputs)));
    return;
  }
  const auto size = static_cast<size_t>(source.view.format->block_bytes);
  for (int64_t i = 0; i < tensor_.inputs; ++i) {
    std::memcpy(out + static_cast<size_t>(i) * size, source.view.row(i) + static_cast<size_t>(row) * size, size);
  }
}

/// What errors in the inputs of that row cost; null where nobody knows.
const float* RowMaker::importance_of(const OutputTensor::Source& source, int64_t row) const {
  if (importance_ == nullptr) return nullptr;
  const std::vector<float>* found = importance_->find(source.input_first ? source.view.data : source.view.row(row));
  return found == nullptr || std::ssize(*found) != tensor_.inputs ? nullptr : found->data();
}

codec::RowFault RowMaker::make_whole(int64_t index, Buffers& buffers, std::byte* out, double& error) const {
  const OutputTensor::Row& row = tensor_.rows[static_cast<size_t>(index)];
  const OutputTensor::Source& source = tensor_.sources[static_cast<size_t>(row.source)];
  error = 0;
  if (copies_) {
    copy(source, row.row, out);
    return {};
  }
  read(source, row.row, buffers.numbers.data());
  return codec::encode_row(to_, buffers.numbers.data(), tensor_.inputs, out, buffers.decoded.data(), error,
                           importance_of(source, row.row));
}

codec::RowFault RowMaker::make(int64_t index, Buffers& buffers, std::byte* out, double& error) const {
  if (tensor_.half == Half::kWhole) return make_whole(index, buffers, out, error);
  const codec::RowFault fault = make_whole(index, buffers, buffers.whole.data(), error);
  auto* bytes = reinterpret_cast<uint8_t*>(out);
  const int64_t blocks = tensor_.inputs / codec::BlockMxfp4::kElements;
  for (int64_t i = 0; i < blocks; ++i) {
    codec::BlockMxfp4 block{};
    uint8_t pairs[16];
    std::memcpy(&block, buffers.whole.data() + static_cast<size_t>(i) * sizeof(block), sizeof(block));
    const uint8_t exponent = split_block(block, pairs);
    if (tensor_.half == Half::kExponents) {
      bytes[i] = exponent;
    } else {
      std::memcpy(bytes + i * 16, pairs, sizeof(pairs));
    }
  }
  return fault;
}

/// The fault of the lowest row, whichever thread finds it.
struct FirstFault {
  std::vector<std::pair<int64_t, codec::RowFault>> by_thread;
  explicit FirstFault(int threads) : by_thread(static_cast<size_t>(threads), {-1, {}}) {}

  Status status(const OutputTensor& tensor) const {
    const std::pair<int64_t, codec::RowFault>* first = nullptr;
    for (const auto& entry : by_thread) {
      if (entry.first >= 0 && (first == nullptr || entry.first < first->first)) first = &entry;
    }
    if (first == nullptr) return {};
    return fail(ErrorCode::kInvalid, tensor.name, "row {}, number {}: {}", first->first, first->second.index,
                first->second.what(*tensor.shape.format));
  }
};

/// Sources in blocks whose columns are wanted, decoded.
class TurnedSources {
 public:
  explicit TurnedSources(OutputTensor& tensor) {
    for (OutputTensor::Source& source : tensor.sources) {
      if (!source.input_first || source.view.format->block_elements == 1) continue;
      std::vector<float>& numbers = numbers_.emplace_back(static_cast<size_t>(source.view.elements()));
      const int64_t columns = source.view.columns();
      for (int64_t row = 0; row < source.view.rows(); ++row)
        source.codec().decode(source.view.row(row), columns, numbers.data() + row * columns);
      source.view.format = &codec::find_codec("f32")->format;
      source.view.data = reinterpret_cast<const std::byte*>(numbers.data());
    }
  }

 private:
  std::list<std::vector<float>> numbers_;
};

class TensorMaker {
 public:
  TensorMaker(const OutputTensor& tensor, const MakeContext& context)
      : tensor_(tensor),
        turned_(tensor_),
        files_(context.files),
        pool_(context.pool),
        importance_(context.importance) {}

  Status copy(const format::PutBytes& put) const;
  Status make_rows(const format::PutBytes& put);
  Status make_turned(const format::PutBytes& put);
  /// What gptq did, for the report.
  void describe(TensorReport& report) const;
  double squared_error() const {
    double sum = 0;
    for (const double one : errors_) sum += one;
    return sum;
  }

 private:
  Status fill(const RowMaker& maker, int64_t first, int64_t count, std::byte* out);
  Status fill_plain(const RowMaker& maker, int64_t first, int64_t count, std::byte* out);
  Status compensate(const RowMaker& maker, int64_t first, int64_t count, std::byte* out);
  void release(int64_t first, int64_t count) const;

  OutputTensor tensor_;
  TurnedSources turned_;
  const format::ModelFiles& files_;
  core::ThreadPool& pool_;
  const Importance& importance_;
  std::vector<double> errors_;
  std::optional<GptqFactor> factor_;  ///< of factor_of_
  const stats::Gram* factor_of_ = nullptr;
  double output_error_ = 0;  ///< squared, summed over the rows that gptq rounded
  int64_t compensated_rows_ = 0;
  int64_t plain_rows_ = 0;  ///< that gptq was asked for but knows too little of
};

Status TensorMaker::copy(const format::PutBytes& put) const {
  const core::TensorView& view = tensor_.sources.front().view;
  for (int64_t done = 0; done < view.bytes(); done += kCopyBytes) {
    const auto size = static_cast<size_t>(std::min(kCopyBytes, view.bytes() - done));
    LAMINA_CHECK_OK(put({view.data + done, size}));
  }
  files_.release(view);
  return {};
}

/// Rows [first, first + count) side by side into `out`.
Status TensorMaker::fill(const RowMaker& maker, int64_t first, int64_t count, std::byte* out) {
  if (!tensor_.gptq || maker.copies()) return fill_plain(maker, first, count, out);
  for (int64_t at = first; at < first + count;) {
    const stats::Gram* gram = maker.gram(at);
    int64_t end = at + 1;
    while (end < first + count && maker.gram(end) == gram) ++end;
    std::byte* to = out + (at - first) * maker.row_bytes();
    // With few rows the products say what the text happened to be, not what the inputs are.
    if (gram == nullptr || gram->rows() < gram->inputs() / kRowsShare) {
      LAMINA_CHECK_OK(fill_plain(maker, at, end - at, to));
      plain_rows_ += end - at;
    } else {
      if (factor_of_ != gram) {
        LAMINA_ASSIGN(factor_, GptqFactor::make(*gram, tensor_.codec().format.block_elements, *tensor_.gptq, pool_));
        factor_of_ = gram;
      }
      LAMINA_CHECK_OK(compensate(maker, at, end - at, to));
    }
    at = end;
  }
  return {};
}

Status TensorMaker::compensate(const RowMaker& maker, int64_t first, int64_t count, std::byte* out) {
  std::vector<double> losses(static_cast<size_t>(count));
  double* errors = errors_.data() + first;
  const GptqFault fault = gptq_round(*factor_, tensor_.codec(), pool_,
                                     {.count = count,
                                      .read = [&](int64_t row, float* to) { maker.numbers(first + row, to); },
                                      .out = out,
                                      .errors = errors,
                                      .losses = losses.data()});
  if (fault.row >= 0) {
    return fail(ErrorCode::kInvalid, tensor_.name, "row {}, number {}: {}", first + fault.row, fault.fault.index,
                fault.fault.what(*tensor_.shape.format));
  }
  for (int64_t i = 0; i < count; ++i) output_error_ += losses[static_cast<size_t>(i)];
  compensated_rows_ += count;
  return {};
}

void TensorMaker::describe(TensorReport& report) const {
  report.gptq = compensated_rows_ > 0;
  if (report.gptq) report.output_rmse = std::sqrt(output_error_ / static_cast<double>(compensated_rows_));
  if (plain_rows_ == 0) return;
  if (!report.note.empty()) report.note += "; ";
  report.note += fmt::format("gptq left {} of {} rows to plain rounding: their inputs were seen less than {} times",
                             plain_rows_, tensor_.rows.size(), std::max<int64_t>(1, tensor_.inputs / kRowsShare));
}

Status TensorMaker::fill_plain(const RowMaker& maker, int64_t first, int64_t count, std::byte* out) {
  FirstFault faults(pool_.threads());
  pool_.run([&](int index, int threads) {
    const core::Range range = core::split_range(count, 1, index, threads);
    RowMaker::Buffers buffers = maker.buffers();
    auto& fault = faults.by_thread[static_cast<size_t>(index)];
    for (int64_t i = range.begin; i < range.end && fault.first < 0; ++i) {
      const codec::RowFault found =
          maker.make(first + i, buffers, out + i * maker.row_bytes(), errors_[static_cast<size_t>(first + i)]);
      if (found.kind != codec::RowFault::Kind::kNone) fault = {first + i, found};
    }
  });
  return faults.status(tensor_);
}

/// Rows that lie side by side in one source were read for the last time.
void TensorMaker::release(int64_t first, int64_t count) const {
  const auto begin = tensor_.rows.begin() + first;
  const OutputTensor::Source& source = tensor_.sources[static_cast<size_t>(begin->source)];
  if (source.input_first || source.scales != nullptr || tensor_.inputs == 1) return;
  for (int64_t i = 0; i < count; ++i) {
    if (begin[i].source != begin->source || begin[i].row != begin->row + i) return;
  }
  core::TensorView part = source.view;
  part.rank = 2;
  part.data = source.view.row(begin->row);
  part.shape = {count, tensor_.inputs, 1, 1};
  files_.release(part);
}

Status TensorMaker::make_rows(const format::PutBytes& put) {
  const RowMaker maker(tensor_, &importance_);
  const auto total = std::ssize(tensor_.rows);
  errors_.assign(tensor_.rows.size(), 0);
  const int64_t piece = std::clamp<int64_t>(kPieceBytes / std::max<int64_t>(maker.row_bytes(), 1), 1, total);
  std::vector<std::byte> out(static_cast<size_t>(piece * maker.row_bytes()));
  for (int64_t first = 0; first < total; first += piece) {
    const int64_t count = std::min(piece, total - first);
    LAMINA_CHECK_OK(fill(maker, first, count, out.data()));
    LAMINA_CHECK_OK(put({out.data(), static_cast<size_t>(count * maker.row_bytes())}));
    release(first, count);
  }
  return {};
}

/// Rows become columns: each matrix is made in memory.
Status TensorMaker::make_turned(const format::PutBytes& put) {
  const RowMaker maker(tensor_, &importance_);
  const int64_t total = std::ssize(tensor_.rows) / tensor_.matrices;
  const auto size = static_cast<size_t>(tensor_.shape.format->block_bytes);
  errors_.assign(tensor_.rows.size(), 0);
  std::vector<std::byte> rows(static_cast<size_t>(total * maker.row_bytes()));
  std::vector<std::byte> turned(rows.size());
  for (int64_t matrix = 0; matrix < tensor_.matrices; ++matrix) {
    LAMINA_CHECK_OK(fill(maker, matrix * total, total, rows.data()));
    pool_.run([&](int index, int threads) {
      const core::Range range = core::split_range(tensor_.inputs, 1, index, threads);
      for (int64_t i = range.begin; i < range.end; ++i) {
        for (int64_t row = 0; row < total; ++row) {
          std::memcpy(turned.data() + static_cast<size_t>(i * total + row) * size,
                      rows.data() + static_cast<size_t>(row * tensor_.inputs + i) * size, size);
        }
      }
    });
    LAMINA_CHECK_OK(put(turned));
  }
  return {};
}

int64_t source_bytes(const OutputTensor& tensor) {
  if (tensor.rows.empty()) return tensor.sources.empty() ? 0 : tensor.sources.front().view.bytes();
  return tensor.sources.front().codec().format.row_bytes(tensor.inputs * std::ssize(tensor.rows));
}

}  // namespace

struct TensorRows::Parts {
  OutputTensor tensor;
  TurnedSources turned;
  RowMaker maker;

  Parts(const OutputTensor& from, const Importance& importance)
      : tensor(with_rows(from)), turned(tensor), maker(tensor, &importance) {}

  /// A tensor that is kept as it lies has no list of its rows.
  static OutputTensor with_rows(OutputTensor tensor) {
    if (!tensor.rows.empty() || tensor.sources.empty()) return tensor;
    for (int64_t row = 0; row < tensor.sources.front().view.rows(); ++row) tensor.rows.push_back({0, row});
    return tensor;
  }
};

TensorRows::TensorRows(const OutputTensor& tensor, const Importance& importance)
    : parts_(std::make_unique<Parts>(tensor, importance)) {}
TensorRows::~TensorRows() = default;

int64_t TensorRows::count() const {
  return std::ssize(parts_->tensor.rows);
}
void TensorRows::numbers(int64_t row, float* out) const {
  parts_->maker.numbers(row, out);
}
const float* TensorRows::importance(int64_t row) const {
  return parts_->maker.importance(row);
}
const stats::Gram* TensorRows::gram(int64_t row) const {
  return parts_->maker.gram(row);
}

bool holds_exactly(const OutputTensor& tensor, const codec::Codec& codec) {
  const RowMaker maker(tensor);
  std::vector<float> numbers(static_cast<size_t>(tensor.inputs));
  std::vector<float> decoded(numbers.size());
  std::vector<std::byte> encoded(static_cast<size_t>(codec.format.row_bytes(tensor.inputs)));
  for (int64_t i = 0; i < std::ssize(tensor.rows); ++i) {
    maker.numbers(i, numbers.data());
    codec.encode(numbers.data(), tensor.inputs, encoded.data());
    codec.decode(encoded.data(), tensor.inputs, decoded.data());
    if (std::memcmp(numbers.data(), decoded.data(), numbers.size() * sizeof(float)) != 0) return false;
  }
  return true;
}

Status make_tensor(const OutputTensor& tensor, const MakeContext& context, const format::PutBytes& put,
                   TensorReport& report) {
  report = {.name = tensor.name, .after = std::string(tensor.shape.format->name), .note = tensor.note};
  report.before = tensor.sources.empty() ? report.after : tensor.sources.front().codec().format.name;
  report.bytes = tensor.shape.bytes();
  report.bytes_before = source_bytes(tensor);
  if (!tensor.literal.empty()) return put(std::as_bytes(std::span(tensor.literal)));
  TensorMaker maker(tensor, context);
  if (tensor.rows.empty()) return maker.copy(put);
  LAMINA_CHECK_OK(tensor.input_first ? maker.make_turned(put) : maker.make_rows(put));
  report.rmse = std::sqrt(maker.squared_error() / static_cast<double>(tensor.shape.elements()));
  maker.describe(report);
  return {};
}

}  // namespace lamina::compress
