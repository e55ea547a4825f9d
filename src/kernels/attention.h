#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>

#include "core/cpu.h"

namespace lamina::kernels {

/// Number formats of cached keys and values. kQ8_0 is int8 with a scale for 32 numbers of a key and for 64 of a value.
enum class CacheFormat { kF32, kF16, kBf16, kQ8_0 };

std::string_view cache_format_name(CacheFormat format);
/// All of them.
std::span<const CacheFormat> cache_formats();

/// Keys come in chunks of 64 at absolute positions 64c..64c+63; softmax states are merged per segment of 512 keys.
inline constexpr int64_t kChunkKeys = 64;
inline constexpr int64_t kSegmentKeys = 512;

/// Numbers of a row that share a scale in kQ8_0.
inline constexpr int64_t kKeyBlock = 32;
inline constexpr int64_t kValueBlock = 64;

/// Bytes of a chunk of one head's keys, laid out [64/16][head_size][16], and of its values, [64][value_stride].
/// In kQ8_0 four numbers that are multiplied together share a lane, in the order 0, 2, 1, 3: keys are int8
/// [64/16][head_size/4][16][4] and bfloat16 scales [head_size/32][64], values int8 [64/4][value_stride][4 keys] and
/// bfloat16 scales [value_stride/64][64], all counts rounded up.
int64_t key_chunk_bytes(CacheFormat format, int64_t head_size);
int64_t value_chunk_bytes(CacheFormat format, int64_t value_size);
/// Numbers of a value row in a chunk: value_size rounded up to 16.
constexpr int64_t value_stride(int64_t value_size) {
  return (value_size + 15) / 16 * 16;
}

/// Writes one key or value of float32 numbers into place `index` (0..63) of a chunk, rounded to nearest even. kQ8_0:
/// d = amax / 127 of a block, rounded up to bfloat16, q = round(x / d); d = 0 below kLeastScale, NaN where a number is
/// not finite.
void store_key(CacheFormat format, int64_t head_size, const float* key, std::byte* chunk, int64_t index);
void store_value(CacheFormat format, int64_t value_size, const float* value, std::byte* chunk, int64_t index);
/// Reads one back, as tests and cache policies do: the exact number kept, or q * d.
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
///
/// kQ8_0 with keys and values apart: a query becomes int16 (amax / 32767); q.k = dq * y, y = fma(float(S), d_k, y) over
/// the blocks of 32, S the integer product. Per block of 64 of the values w = lanes16(p * d_v), r = int16(p * d_v *
/// (32767 / w)), o = fma(float(sum of r * v), w / 32767, o*a): integers again, so in any order. Joined rows are read
/// back to float32.
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

/// The scores that attention() turns into exp(s - m): that of row i and key k, which the row sees, goes to
/// scores[i * stride + k - first_key]; nothing else is written. No row may see a key before `first_key`.
void attention_scores(const AttentionArgs& args, int64_t first_key, float* scores, int64_t stride);

/// A row of the table of attention kernels. All rows give the same bits.
struct AttentionVariant {
  core::Isa isa = core::Isa::kScalar;
  decltype(&kernels::attention) attention = nullptr;
  decltype(&kernels::attention_segments) attention_segments = nullptr;
  decltype(&kernels::attention_merge) attention_merge = nullptr;
  decltype(&kernels::store_key) store_key = nullptr;
  decltype(&kernels::store_value) store_value = nullptr;
  decltype(&kernels::attention_scores) attention_scores = nullptr;
};

/// Weakest first; rows that this machine lacks are listed too, so check core::cpu_has before calling one.
std::span<const AttentionVariant* const> attention_variants();

namespace ref {
extern const AttentionVariant kAttention;
}
namespace cpu {
extern const AttentionVariant kAttentionAvx2;
extern const AttentionVariant kAttentionAvx512;
extern const AttentionVariant kAttentionAvx512Vnni;
}  // namespace cpu

}  // namespace lamina::kernels
