#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/attention_q8.h"

/// The parts of attention that CacheFormat::kQ8_0 does in integers, one number at a time.
namespace lamina::kernels::ref {

void store_key_q8(int64_t head_size, const float* key, std::byte* chunk, int64_t index);
void store_value_q8(int64_t value_size, const float* value, std::byte* chunk, int64_t index);
/// One number of a key or value as float32.
float key_number_q8(int64_t head_size, const std::byte* chunk, int64_t index, int64_t dimension);
float value_number_q8(int64_t value_size, const std::byte* chunk, int64_t index, int64_t dimension);

/// Turns a query into integers; returns their scale.
float quantize_query(const float* query, int64_t head_size, int16_t* out);
/// q.k of a query in integers with one key of a chunk.
float key_product(const int16_t* query, float scale, int64_t head_size, const std::byte* chunk, int64_t index);
/// o[d] = o[d] * decay + the values of a chunk weighed by p, [64], which is 0 for keys outside [begin, end).
void add_values_q8(const float* p, int64_t begin, int64_t end, int64_t value_size, const std::byte* chunk, float decay,
                   float* out);

}  // namespace lamina::kernels::ref
