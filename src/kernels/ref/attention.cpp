#include "kernels/attention.h"

#include <algorithm>
#include <cstring>

#include "kernels/ref/attention_q8.h"
#include "kernels/ref/half.h"
#include "kernels/ref/math.h"

namespace lamina::kernels::ref {

namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

template <typename Number>
Number number_at(const std::byte* data, int64_t index) {
  Number number;
  std::memcpy(&number, data + index * static_cast<int64_t>(sizeof(Number)), sizeof(Number));
  return number;
}

float read(CacheFormat format, const std::byte* data, int64_t index) {
  switch (format) {
    case CacheFormat::kF32:
      return number_at<float>(data, index);
    case CacheFormat::kF16:
      return half_to_float(number_at<uint16_t>(data, index));
    case CacheFormat::kBf16:
      return bfloat_to_float(number_at<uint16_t>(data, index));
    case CacheFormat::kQ8_0:  // has layouts of its own
      break;
  }
  return 0;
}

void write(CacheFormat format, std::byte* data, int64_t index, float value) {
  if (format == CacheFormat::kF32) {
    std::memcpy(data + index * 4, &value, 4);
    return;
  }
  const uint16_t number = format == CacheFormat::kF16 ? float_to_half(value) : float_to_bfloat(value);
  std::memcpy(data + index * 2, &number, 2);
}

int64_t key_place(int64_t head_size, int64_t index, int64_t dimension) {
  return (index / 16 * head_size + dimension) * 16 + index % 16;
}

void store_key(CacheFormat format, int64_t head_size, const float* key, std::byte* chunk, int64_t index) {
  if (format == CacheFormat::kQ8_0) return store_key_q8(head_size, key, chunk, index);
  for (int64_t d = 0; d < head_size; ++d) write(format, chunk, key_place(head_size, index, d), key[d]);
}

void store_value(CacheFormat format, int64_t value_size, const float* value, std::byte* chunk, int64_t index) {
  if (format == CacheFormat::kQ8_0) return store_value_q8(value_size, value, chunk, index);
  const int64_t stride = value_stride(value_size);
  for (int64_t d = 0; d < stride; ++d) {
    write(format, chunk, index * stride + d, d < value_size ? value[d] : 0.0F);
  }
}

/// Softmax state: maximum, sum, and `stride` weighted sums of values.
struct State {
  float* maximum;
  float* sum;
  float* out;
};

State state_at(float* data) {
  return {data, data + 1, data + 16};
}

void clear(const State& state, int64_t stride) {
  *state.maximum = kMinusInfinity;
  *state.sum = 0;
  std::fill_n(state.out, stride, 0.0F);
}

/// Whether products are made of integers.
bool integers(const AttentionArgs& args) {
  return args.format == CacheFormat::kQ8_0 && args.key_chunks != nullptr;
}

/// Numbers of a row in a chunk of values.
int64_t row_size(const AttentionArgs& args) {
  return args.key_chunks == nullptr ? args.head_size : args.value_size;
}

float value_number(const AttentionArgs& args, int64_t chunk, int64_t index, int64_t dimension) {
  const std::byte* data = args.value_chunks[chunk];
  if (args.format == CacheFormat::kQ8_0) return value_number_q8(row_size(args), data, index, dimension);
  return read(args.format, data, index * value_stride(row_size(args)) + dimension);
}

float key_number(const AttentionArgs& args, int64_t chunk, int64_t index, int64_t dimension) {
  if (args.key_chunks == nullptr) return value_number(args, chunk, index, dimension);
  return read(args.format, args.key_chunks[chunk], key_place(args.head_size, index, dimension));
}

/// A row's query, in integers too where products are made of them.
struct Query {
  int16_t* numbers = nullptr;
  float scale = 0;
};

Query query_of(const AttentionArgs& args, const AttentionRow& row) {
  if (!integers(args)) return {};
  Query query;
  query.numbers = reinterpret_cast<int16_t*>(args.scratch + 2 * attention_state_floats(args.value_size));
  query.scale = quantize_query(row.query, args.head_size, query.numbers);
  return query;
}

/// The bias of the key at absolute position `key`.
float bias(const AttentionRow& row, int64_t reach, int64_t key) {
  return row.bias[std::clamp(key - row.position, -reach, reach) + reach + 15];
}

float product(const AttentionArgs& args, const AttentionRow& row, const Query& query, int64_t chunk, int64_t index) {
  if (integers(args)) return key_product(query.numbers, query.scale, args.head_size, args.key_chunks[chunk], index);
  float s = 0;
  for (int64_t d = 0; d < args.head_size; ++d) s = std::fma(row.query[d], key_number(args, chunk, index, d), s);
  return s;
}

float score(const AttentionArgs& args, const AttentionRow& row, const Query& query, int64_t chunk, int64_t index) {
  float s = product(args, row, query, chunk, index) * args.scale;
  if (args.soft_cap > 0) s = args.soft_cap * ref::tanh(s / args.soft_cap);
  return row.bias == nullptr ? s : s + bias(row, args.bias_reach, chunk * kChunkKeys + index);
}

void add_chunk(const AttentionArgs& args, const AttentionRow& row, int64_t chunk, const State& state) {
  const int64_t begin = std::max<int64_t>(row.first_key - chunk * kChunkKeys, 0);
  const int64_t end = std::min<int64_t>(row.last_key - chunk * kChunkKeys, kChunkKeys - 1) + 1;
  if (begin >= end) return;
  float p[kChunkKeys] = {};
  float maximum = *state.maximum;
  const Query query = query_of(args, row);
  for (int64_t i = begin; i < end; ++i) {
    p[i] = score(args, row, query, chunk, i);
    maximum = maximum < p[i] ? p[i] : maximum;
  }
  const float alpha = ref::exp(*state.maximum - maximum);
  float lanes[16] = {};
  for (int64_t i = begin; i < end; ++i) p[i] = ref::exp(p[i] - maximum);
  for (int64_t i = 0; i < kChunkKeys; ++i) lanes[i % 16] += p[i];
  *state.maximum = maximum;
  *state.sum = std::fma(*state.sum, alpha, fold16(lanes));
  if (integers(args)) {
    add_values_q8(p, begin, end, args.value_size, args.value_chunks[chunk], alpha, state.out);
    return;
  }
  for (int64_t d = 0; d < args.value_size; ++d) {
    float o = state.out[d] * alpha;
    for (int64_t i = begin; i < end; ++i) o = std::fma(p[i], value_number(args, chunk, i, d), o);
    state.out[d] = o;
  }
}

void run_segment(const AttentionArgs& args, const AttentionRow& row, int64_t segment, const State& state) {
  constexpr int64_t kChunks = kSegmentKeys / kChunkKeys;
  clear(state, value_stride(args.value_size));
  const int64_t first = std::max(segment * kChunks, row.first_key / kChunkKeys);
  const int64_t last = std::min((segment + 1) * kChunks - 1, row.last_key / kChunkKeys);
  for (int64_t chunk = first; row.last_key >= row.first_key && chunk <= last; ++chunk) {
    add_chunk(args, row, chunk, state);
  }
}

/// Adds a segment's state to the running one.
void merge(const State& running, const State& segment, int64_t value_size) {
  if (*segment.sum == 0.0F) return;
  const float maximum = *running.maximum < *segment.maximum ? *segment.maximum : *running.maximum;
  const float a = ref::exp(*running.maximum - maximum);
  const float b = ref::exp(*segment.maximum - maximum);
  *running.maximum = maximum;
  *running.sum = std::fma(*running.sum, a, *segment.sum * b);
  for (int64_t d = 0; d < value_size; ++d) running.out[d] = std::fma(running.out[d], a, segment.out[d] * b);
}

void finish(const AttentionRow& row, const State& running, int64_t value_size) {
  float sum = *running.sum;
  float factor = 1.0F;
  if (row.sink > kMinusInfinity) {
    const float maximum = *running.maximum < row.sink ? row.sink : *running.maximum;
    factor = ref::exp(*running.maximum - maximum);
    sum = std::fma(sum, factor, ref::exp(row.sink - maximum));
  }
  const float inverse = sum == 0.0F ? 0.0F : 1.0F / sum;
  for (int64_t d = 0; d < value_size; ++d) row.out[d] = running.out[d] * factor * inverse + 0.0F;
}

void attention_segments(const AttentionArgs& args, int64_t begin, int64_t end, float* partial) {
  const int64_t size = attention_state_floats(args.value_size);
  for (int64_t segment = begin; segment < end; ++segment) {
    for (int64_t i = 0; i < args.rows; ++i) {
      run_segment(args, args.row_list[i], segment, state_at(partial + ((segment - begin) * args.rows + i) * size));
    }
  }
}

void attention_merge(const AttentionArgs& args, int64_t segments, const float* partial, int64_t row_begin,
                     int64_t row_end) {
  const int64_t size = attention_state_floats(args.value_size);
  const State running = state_at(args.scratch);
  for (int64_t i = row_begin; i < row_end; ++i) {
    clear(running, value_stride(args.value_size));
    for (int64_t segment = 0; segment < segments; ++segment) {
      // A state is only read here.
      merge(running, state_at(const_cast<float*>(partial) + (segment * args.rows + i) * size), args.value_size);
    }
    finish(args.row_list[i], running, args.value_size);
  }
}

void attention(const AttentionArgs& args) {
  const State running = state_at(args.scratch);
  const State segment_state = state_at(args.scratch + attention_state_floats(args.value_size));
  for (int64_t i = 0; i < args.rows; ++i) {
    const AttentionRow& row = args.row_list[i];
    clear(running, value_stride(args.value_size));
    for (int64_t segment = row.first_key / kSegmentKeys; segment * kSegmentKeys <= row.last_key; ++segment) {
      run_segment(args, row, segment, segment_state);
      merge(running, segment_state, args.value_size);
    }
    finish(row, running, args.value_size);
  }
}

void attention_scores(const AttentionArgs& args, int64_t first_key, float* scores, int64_t stride) {
  for (int64_t i = 0; i < args.rows; ++i) {
    const AttentionRow& row = args.row_list[i];
    const Query query = query_of(args, row);
    for (int64_t key = row.first_key; key <= row.last_key; ++key)
      scores[i * stride + key - first_key] = score(args, row, query, key / kChunkKeys, key % kChunkKeys);
  }
}

}  // namespace

const AttentionVariant kAttention{core::Isa::kScalar, attention,   attention_segments, attention_merge,
                                  store_key,          store_value, attention_scores};

void load_key(CacheFormat format, int64_t head_size, const std::byte* chunk, int64_t index, float* key) {
  for (int64_t d = 0; d < head_size; ++d) {
    key[d] = format == CacheFormat::kQ8_0 ? key_number_q8(head_size, chunk, index, d)
                                          : read(format, chunk, key_place(head_size, index, d));
  }
}

void load_value(CacheFormat format, int64_t value_size, const std::byte* chunk, int64_t index, float* value) {
  const int64_t stride = value_stride(value_size);
  for (int64_t d = 0; d < value_size; ++d) {
    value[d] = format == CacheFormat::kQ8_0 ? value_number_q8(value_size, chunk, index, d)
                                            : read(format, chunk, index * stride + d);
  }
}

}  // namespace lamina::kernels::ref
