#include "layers/encode_rows.h"

#include <vector>

#include "codec/encode.h"

namespace lamina::layers {

core::Status encode_rows(core::ThreadPool& pool, const codec::Codec& codec, const MatrixSize& size,
                         const std::function<void(int64_t row, float* out)>& read, const EncodedRows& out) {
  struct Found {
    int64_t row = -1;
    codec::RowFault fault;
  };
  std::vector<Found> faults(static_cast<size_t>(pool.threads()));
  const int64_t row_bytes = codec.format.row_bytes(size.columns);
  pool.run([&](int index, int threads) {
    const core::Range range = core::split_range(size.rows, 1, index, threads);
    Found& found = faults[static_cast<size_t>(index)];
    std::vector<float> numbers(static_cast<size_t>(size.columns));
    std::vector<float> decoded(numbers.size());
    for (int64_t row = range.begin; row < range.end && found.row < 0; ++row) {
      double error = 0;
      read(row, numbers.data());
      found.fault =
          codec::encode_row(codec, numbers.data(), size.columns, out.data + row * row_bytes, decoded.data(), error);
      if (found.fault.kind != codec::RowFault::Kind::kNone) found.row = row;
    }
  });
  for (const Found& found : faults) {
    if (found.row < 0) continue;
    return core::fail(core::ErrorCode::kInvalid, out.name, "row {}, number {}: {}", found.row, found.fault.index,
                      found.fault.what(codec.format));
  }
  return {};
}

}  // namespace lamina::layers
