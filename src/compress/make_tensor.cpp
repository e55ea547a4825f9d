#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "codec/encode.h"
#include "compress/output_tensor.h"

namespace lamina::compress {

using core::ErrorCode;
using core::fail;
using core::Status;

namespace {

constexpr int64_t kPieceBytes = int64_t{8} << 20;
constexpr int64_t kCopyBytes = int64_t{32} << 20;

/// Makes rows of one tensor; shared by all threads, each with its own buffers.
class RowMaker {
 public:
  explicit RowMaker(const OutputTensor& tensor)
      : tensor_(tensor),
        from_(*codec::codec_of(*tensor.sources.front().view.format)),
        to_(*codec::codec_of(*tensor.shape.format)),
        copies_(&from_ == &to_ && tensor.sources.front().offset == 0) {}

  struct Buffers {
    std::vector<float> numbers;
    std::vector<float> decoded;
  };
  Buffers buffers() const {
    const auto count = static_cast<size_t>(copies_ ? 0 : tensor_.inputs);
    return {std::vector<float>(count), std::vector<float>(count)};
  }
  int64_t row_bytes() const { return to_.format.row_bytes(tensor_.inputs); }
  /// Whether rows may change their numbers, so that they must be finite and their error counts.
  bool rounds() const { return !copies_; }

  /// Row `index` of the matrix in the target's format; fills its squared error.
  codec::RowFault make(int64_t index, Buffers& buffers, std::byte* out, double& error) const;

 private:
  void read(const OutputTensor::Source& source, int64_t row, float* out) const;

  const OutputTensor& tensor_;
  const codec::Codec& from_;
  const codec::Codec& to_;
  bool copies_;
};

void RowMaker::read(const OutputTensor::Source& source, int64_t row, float* out) const {
  const core::TensorView& view = source.view;
  if (!source.input_first) {
    from_.decode(view.row(row), tensor_.inputs, out);
  } else {
    const int64_t size = view.format->block_bytes;
    for (int64_t i = 0; i < tensor_.inputs; ++i) from_.decode(view.row(i) + row * size, 1, out + i);
  }
  if (source.offset == 0) return;
  for (int64_t i = 0; i < tensor_.inputs; ++i) out[i] += source.offset;
}

codec::RowFault RowMaker::make(int64_t index, Buffers& buffers, std::byte* out, double& error) const {
  const OutputTensor::Row& row = tensor_.rows[static_cast<size_t>(index)];
  const OutputTensor::Source& source = tensor_.sources[static_cast<size_t>(row.source)];
  error = 0;
  if (!copies_) {
    read(source, row.row, buffers.numbers.data());
    return codec::encode_row(to_, buffers.numbers.data(), tensor_.inputs, out, buffers.decoded.data(), error);
  }
  if (!source.input_first) {
    std::memcpy(out, source.view.row(row.row), static_cast<size_t>(row_bytes()));
    return {};
  }
  const auto size = static_cast<size_t>(source.view.format->block_bytes);
  for (int64_t i = 0; i < tensor_.inputs; ++i) {
    std::memcpy(out + static_cast<size_t>(i) * size, source.view.row(i) + static_cast<size_t>(row.row) * size, size);
  }
  return {};
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

class TensorMaker {
 public:
  TensorMaker(const OutputTensor& tensor, const format::ModelFiles& files, core::ThreadPool& pool)
      : tensor_(tensor), files_(files), pool_(pool) {}

  Status copy(const format::PutBytes& put) const;
  Status make_rows(const format::PutBytes& put);
  Status make_turned(const format::PutBytes& put);
  double squared_error() const {
    double sum = 0;
    for (const double one : errors_) sum += one;
    return sum;
  }

 private:
  Status fill(const RowMaker& maker, int64_t first, int64_t count, std::byte* out);
  void release(int64_t first, int64_t count) const;

  const OutputTensor& tensor_;
  const format::ModelFiles& files_;
  core::ThreadPool& pool_;
  std::vector<double> errors_;
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
  if (source.input_first || tensor_.inputs == 1) return;
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
  const RowMaker maker(tensor_);
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

/// Rows become columns: the whole tensor is made in memory.
Status TensorMaker::make_turned(const format::PutBytes& put) {
  const RowMaker maker(tensor_);
  const auto total = std::ssize(tensor_.rows);
  const auto size = static_cast<size_t>(tensor_.shape.format->block_bytes);
  errors_.assign(tensor_.rows.size(), 0);
  std::vector<std::byte> rows(static_cast<size_t>(total * maker.row_bytes()));
  LAMINA_CHECK_OK(fill(maker, 0, total, rows.data()));
  std::vector<std::byte> turned(rows.size());
  pool_.run([&](int index, int threads) {
    const core::Range range = core::split_range(tensor_.inputs, 1, index, threads);
    for (int64_t i = range.begin; i < range.end; ++i) {
      for (int64_t row = 0; row < total; ++row) {
        std::memcpy(turned.data() + static_cast<size_t>(i * total + row) * size,
                    rows.data() + static_cast<size_t>(row * tensor_.inputs + i) * size, size);
      }
    }
  });
  return put(turned);
}

int64_t source_bytes(const OutputTensor& tensor) {
  if (tensor.rows.empty()) return tensor.sources.empty() ? 0 : tensor.sources.front().view.bytes();
  return tensor.sources.front().view.format->row_bytes(tensor.inputs * std::ssize(tensor.rows));
}

}  // namespace

Status make_tensor(const OutputTensor& tensor, const format::ModelFiles& files, core::ThreadPool& pool,
                   const format::PutBytes& put, TensorReport& report) {
  report = {.name = tensor.name, .after = std::string(tensor.shape.format->name), .note = tensor.note};
  report.before = tensor.sources.empty() ? report.after : tensor.sources.front().view.format->name;
  report.bytes = tensor.shape.bytes();
  report.bytes_before = source_bytes(tensor);
  if (!tensor.literal.empty()) return put(std::as_bytes(std::span(tensor.literal)));
  TensorMaker maker(tensor, files, pool);
  if (tensor.rows.empty()) return maker.copy(put);
  LAMINA_CHECK_OK(tensor.input_first ? maker.make_turned(put) : maker.make_rows(put));
  report.rmse = std::sqrt(maker.squared_error() / static_cast<double>(tensor.shape.elements()));
  return {};
}

}  // namespace lamina::compress
