#include "kernels/attention.h"

#include <array>

#include "kernels/attention_q8.h"
#include "kernels/variant.h"

namespace lamina::kernels {

namespace ref {
void load_key(CacheFormat format, int64_t head_size, const std::byte* chunk, int64_t index, float* key);
void load_value(CacheFormat format, int64_t value_size, const std::byte* chunk, int64_t index, float* value);
}  // namespace ref

std::span<const AttentionVariant* const> attention_variants() {
  static constexpr std::array kRows{
      &ref::kAttention, LAMINA_X86_ROWS(&cpu::kAttentionAvx2, &cpu::kAttentionAvx512, &cpu::kAttentionAvx512Vnni)};
  return kRows;
}

namespace {

struct FormatRow {
  CacheFormat format;
  std::string_view name;
  int64_t bytes;  ///< of a number, scales apart
};
constexpr std::array kFormats{FormatRow{CacheFormat::kF32, "f32", 4}, FormatRow{CacheFormat::kF16, "f16", 2},
                              FormatRow{CacheFormat::kBf16, "bf16", 2}, FormatRow{CacheFormat::kQ8_0, "q8_0", 1}};

int64_t number_bytes(CacheFormat format) {
  return kFormats[static_cast<size_t>(format)].bytes;
}

const AttentionVariant& chosen() {
  static const AttentionVariant& row = strongest_row(attention_variants());
  return row;
}

}  // namespace

std::string_view cache_format_name(CacheFormat format) {
  return kFormats[static_cast<size_t>(format)].name;
}

std::span<const CacheFormat> cache_formats() {
  static constexpr auto kAll = [] {
    std::array<CacheFormat, kFormats.size()> all{};
    for (size_t i = 0; i < all.size(); ++i) all[i] = kFormats[i].format;
    return all;
  }();
  return kAll;
}

int64_t key_chunk_bytes(CacheFormat format, int64_t head_size) {
  if (format == CacheFormat::kQ8_0) return key_scale_offset(head_size) + kChunkKeys * 2 * key_blocks(head_size);
  return kChunkKeys * head_size * number_bytes(format);
}

int64_t value_chunk_bytes(CacheFormat format, int64_t value_size) {
  if (format == CacheFormat::kQ8_0) return value_scale_offset(value_size) + kChunkKeys * 2 * value_blocks(value_size);
  return kChunkKeys * value_stride(value_size) * number_bytes(format);
}

int64_t attention_scratch_floats(int64_t head_size, int64_t value_size) {
  const int64_t chunks = kChunkKeys * (head_size + value_stride(value_size));
  const int64_t rows = head_size + kChunkKeys + 2 * attention_state_floats(value_size) + query_floats(head_size);
  return chunks + kAttentionTileRows * rows;
}

void store_key(CacheFormat format, int64_t head_size, const float* key, std::byte* chunk, int64_t index) {
  chosen().store_key(format, head_size, key, chunk, index);
}

void store_value(CacheFormat format, int64_t value_size, const float* value, std::byte* chunk, int64_t index) {
  chosen().store_value(format, value_size, value, chunk, index);
}

void load_key(CacheFormat format, int64_t head_size, const std::byte* chunk, int64_t index, float* key) {
  ref::load_key(format, head_size, chunk, index, key);
}

void load_value(CacheFormat format, int64_t value_size, const std::byte* chunk, int64_t index, float* value) {
  ref::load_value(format, value_size, chunk, index, value);
}

void attention(const AttentionArgs& args) {
  chosen().attention(args);
}

void attention_segments(const AttentionArgs& args, int64_t begin, int64_t end, float* partial) {
  chosen().attention_segments(args, begin, end, partial);
}

void attention_merge(const AttentionArgs& args, int64_t segments, const float* partial, int64_t row_begin,
                     int64_t row_end) {
  chosen().attention_merge(args, segments, partial, row_begin, row_end);
}

void attention_scores(const AttentionArgs& args, int64_t first_key, float* scores, int64_t stride) {
  chosen().attention_scores(args, first_key, scores, stride);
}

}  // namespace lamina::kernels
