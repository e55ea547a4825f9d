#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>

#include "core/cpu.h"

namespace lamina::kernels {

/// Number formats of cached keys and values. Reading one back to float32 is exact.
enum class CacheFormat { kF32, kF16, kBf16 };

std::string_view cache_format_name(CacheFormat format);
/// All of them.
std::span<const CacheFormat> cache_formats();
/// Bytes of one number.
int64_t cache_number_bytes(CacheFormat format);

/// Keys come in chunks of 64 at absolute positions 64c..64c+63; softmax states are merged per segment of 512 keys.
inline constexpr int64_t kChunkKeys = 64;
inline constexpr int64_t kSegmentKeys = 512;

/// Bytes of a chunk of one head's keys, laid out [64/16][head_size][16], and of its values, [64][value_stride].
int64_t key_chunk_bytes(CacheFormat format, int64_t head_size);
int64_t value_chunk_bytes(CacheFormat format, int64_t value_size);
/// Numbers of a value row in a chunk: value_size rounded up to 16.
constexpr int64_t value_stride(int64_t value_size) {
  return (value_size + 15) / 16 * 16;
}

/// Writes one key or value of float32 numbers into place `index` (0..63) of a chunk, rounded to nearest even.
void store_key(CacheFormat format, int64_t head_size, const float* key, std::byte* chunk, int64_t index);
void store_value(CacheFormat format, int64_t value_size, const float* value, std::byte* chunk, int64_t index);
/// Reads one back, as tests and cache policies do.
void load_key(CacheFormat format, int64_t head_size, const std::byte* chunk, int64_t index, float* key);
void load_value(CacheFormat format, int64_t value_size, const std::byte* chunk, int64_t index, float* value);

/// One query: a token's query vector of one head. It sees the keys first_key..last_key, both included; none if
/// last_key < first_key, and then `out` is 0.
struct AttentionRow {
  const float* query = nullptr;  ///< head_size numbers
  float* out = nullptr;          ///< value_size numbers
  int64_t first_key = 0;
  int64_t last_key = -1;
  /// Logit of a sink: takes part in the softmax, has no value (Xiao et al. 2023 as gpt-oss has it). -inf: none.
  float sink = -std::numeric_limits<float>::infinity();
  /// What a key's distance from `position` adds to its score: attention_bias_floats(bias_reach) numbers; null: nothing.
  const float* bias = nullptr;
  int64_t position = 0;  ///< of the query; read only with a bias
};

/// Numbers of a table of biases by distance (key - query). The one of distance d, -reach <= d <= reach, stands at
/// d + reach + 15; those at -reach and at reach hold for all distances beyond, and 15 copies of each frame the table.
constexpr int64_t attention_bias_floats(int64_t reach) {
  return 2 * reach + 31;
}

/// Queries that share one key-value head. Best speed when neighbours see nearly the same keys: tokens ascending, the
/// heads of the group together.
struct AttentionArgs {
  CacheFormat format = CacheFormat::kF32;
  int64_t head_size = 0;
  int64_t value_size = 0;
  float scale = 1.0F;      ///< of the scores, before soft_cap
  float soft_cap = 0.0F;   ///< cap * tanh(score / cap); 0: none
  int64_t bias_reach = 0;  ///< of the tables of the rows that have a bias, which is added last
  /// By absolute chunk index; a chunk that no row sees may be null. No list of key chunks: a key and its value are one
  /// row of a value chunk with value_size = head_size, whose first value_size numbers are the value.
  const std::byte* const* key_chunks = nullptr;
  const std::byte* const* value_chunks = nullptr;
  int64_t rows = 0;
  const AttentionRow* row_list = nullptr;
  float* scratch = nullptr;  ///< attention_scratch_floats numbers, 64-byte aligned, one scratch per thread
};

/// Rows that a vector variant works on together.
inline constexpr int64_t kAttentionTileRows = 96;
/// Numbers of scratch that one call needs, whatever the rows.
int64_t attention_scratch_floats(int64_t head_size, int64_t value_size);

/// out = softmax(scale * q.k) v for each row, over the keys that it sees. A row's bits depend on its own arguments
/// alone. Per segment, chunks ascending: s = cap(q.k (fma over dimensions, ascending) * scale) + bias; m' = max(m, max
/// s); a = exp(m - m'); p = exp(s - m'); l = fma(l, a, lanes16(p)); o = o*a, then fma(p, v, o), keys ascending.
/// Segments merge ascending; out = o * (1 / l) + 0. Keys that a row does not see are never added. Dao et al. 2022.
void attention(const AttentionArgs& args);

/// Numbers of the softmax state of one row in one segment.
constexpr int64_t attention_state_floats(int64_t value_size) {
  return 16 + value_stride(value_size);
}
/// The part of attention() in segments [begin, end): state of (segment, row) goes to
/// partial + ((segment - begin) * rows + row) * attention_state_floats. Nothing is written to `out`.
void attention_segments(const AttentionArgs& args, int64_t begin, int64_t end, float* partial);
/// Writes `out` of rows [row_begin, row_end) from the states of segments 0..segments-1, laid out as by
/// attention_segments(args, 0, segments, partial), which several calls may have filled. Same bits as attention().
void attention_merge(const AttentionArgs& args, int64_t segments, const float* partial, int64_t row_begin,
                     int64_t row_end);

/// A row of the table of attention kernels. All rows give the same bits.
struct AttentionVariant {
  core::Isa isa = core::Isa::kScalar;
  decltype(&kernels::attention) attention = nullptr;
  decltype(&kernels::attention_segments) attention_segments = nullptr;
  decltype(&kernels::attention_merge) attention_merge = nullptr;
  decltype(&kernels::store_key) store_key = nullptr;
  decltype(&kernels::store_value) store_value = nullptr;
};

/// Weakest first; rows that this machine lacks are listed too, so check core::cpu_has before calling one.
std::span<const AttentionVariant* const> attention_variants();

namespace ref {
extern const AttentionVariant kAttention;
}
namespace cpu {
extern const AttentionVariant kAttentionAvx2;
extern const AttentionVariant kAttentionAvx512;
}  // namespace cpu

}  // namespace lamina::kernels
