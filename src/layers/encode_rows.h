#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "codec/codec.h"
#include "core/result.h"
#include "core/thread_pool.h"

namespace lamina::layers {

struct MatrixSize {
  int64_t rows = 0;
  int64_t columns = 0;
};

/// Where encoded rows go, and how messages call them.
struct EncodedRows {
  std::string_view name;
  std::byte* data = nullptr;
};

/// Encodes rows of float32 that `read(row, out)` gives, on all threads. kInvalid: a number that is not finite, or too
/// large for the format, with the lowest row that has one.
core::Status encode_rows(core::ThreadPool& pool, const codec::Codec& codec, const MatrixSize& size,
                         const std::function<void(int64_t row, float* out)>& read, const EncodedRows& out);

}  // namespace lamina::layers
