#include "kernels/attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "core/memory.h"
#include "core/thread_pool.h"

namespace lamina::kernels {
namespace {

constexpr float kNoSink = -std::numeric_limits<float>::infinity();

struct Shape {
  CacheFormat format = CacheFormat::kF32;
  int64_t head_size = 64;
  int64_t value_size = 64;
  int64_t keys = 0;
  float soft_cap = 0;
  bool joined = false;     ///< a value is the begin of its key
  bool split = false;      ///< such values are kept apart all the same
  int64_t bias_reach = 0;  ///< 0: no bias
};

core::AlignedBuffer buffer(int64_t bytes) {
  auto made = core::AlignedBuffer::allocate(static_cast<size_t>(std::max<int64_t>(bytes, 64)));
  EXPECT_TRUE(made.has_value());
  return std::move(*made);
}

/// One kv head's cache filled with random numbers, and what was read back from it as plain rows.
class Fixture {
 public:
  Fixture(const Shape& shape, unsigned seed) : shape_(shape), random_(seed) {
    const int64_t chunks = (shape.keys + kChunkKeys - 1) / kChunkKeys;
    scratch_ = buffer(attention_scratch_floats(shape.head_size, shape.value_size) * 4);
    for (int64_t c = 0; c < chunks; ++c) {
      const int64_t value_bytes = value_chunk_bytes(shape.format, one_copy() ? shape.head_size : shape.value_size);
      keys_.push_back(buffer(key_chunk_bytes(shape.format, shape.head_size)));
      values_.push_back(buffer(value_bytes));
      // Places that no row may see hold NaN.
      std::memset(keys_.back().data(), 0xff, static_cast<size_t>(key_chunk_bytes(shape.format, shape.head_size)));
      std::memset(values_.back().data(), 0xff, static_cast<size_t>(value_bytes));
      key_chunks_.push_back(keys_.back().data());
      value_chunks_.push_back(values_.back().data());
    }
    for (int64_t i = 0; i < shape.keys; ++i) {
      const auto key = numbers(shape.head_size, 1.0F);
      const auto value = shape.joined ? key : numbers(shape.value_size, 1.0F);
      const auto chunk = static_cast<size_t>(i / kChunkKeys);
      if (one_copy()) {
        store_value(shape.format, shape.head_size, key.data(), values_[chunk].data(), i % kChunkKeys);
        continue;
      }
      store_key(shape.format, shape.head_size, key.data(), keys_[chunk].data(), i % kChunkKeys);
      store_value(shape.format, shape.value_size, value.data(), values_[chunk].data(), i % kChunkKeys);
    }
  }

  std::vector<float> numbers(int64_t count, float spread) {
    std::normal_distribution<float> normal(0.0F, spread);
    std::vector<float> v(static_cast<size_t>(count));
    for (float& x : v) x = normal(random_);
    return v;
  }

  void add_row(int64_t first_key, int64_t last_key, float sink = kNoSink) {
    queries_.push_back(numbers(shape_.head_size, 2.0F));
    visible_.push_back({.first_key = first_key, .last_key = last_key, .sink = sink});
    if (shape_.bias_reach == 0) return;
    const int64_t reach = shape_.bias_reach;
    auto& table = biases_.emplace_back(numbers(attention_bias_floats(reach), 1.0F));
    std::fill_n(table.begin(), 15, table[15]);
    std::fill_n(table.end() - 15, 15, table[static_cast<size_t>(2 * reach + 15)]);
    // Queries stand among the keys, after the last and long before the first.
    const auto count = static_cast<int64_t>(queries_.size());
    visible_.back().position = count % 7 == 0 ? last_key + 3 * reach : count % 11 == 0 ? -2 * reach : last_key - count;
  }

  AttentionArgs args(std::vector<AttentionRow>& rows, std::vector<float>& out) {
    rows = visible_;
    out.assign(rows.size() * static_cast<size_t>(shape_.value_size), -7.0F);
    for (size_t i = 0; i < rows.size(); ++i) {
      rows[i].query = queries_[i].data();
      rows[i].out = out.data() + i * static_cast<size_t>(shape_.value_size);
      if (shape_.bias_reach > 0) rows[i].bias = biases_[i].data();
    }
    // A poisoned scratch must not show.
    std::memset(scratch_.data(), 0xff, scratch_.size());
    AttentionArgs args;
    args.format = shape_.format;
    args.head_size = shape_.head_size;
    args.value_size = shape_.value_size;
    args.scale = 1.0F / std::sqrt(static_cast<float>(shape_.head_size));
    args.soft_cap = shape_.soft_cap;
    args.bias_reach = shape_.bias_reach;
    args.key_chunks = one_copy() ? nullptr : key_chunks_.data();
    args.value_chunks = value_chunks_.data();
    args.rows = static_cast<int64_t>(rows.size());
    args.row_list = rows.data();
    args.scratch = scratch_.as<float>();
    return args;
  }

  std::vector<float> run(const AttentionVariant& variant) {
    std::vector<AttentionRow> rows;
    std::vector<float> out;
    variant.attention(args(rows, out));
    return out;
  }

  /// One call for each row.
  std::vector<float> run_alone(const AttentionVariant& variant) {
    std::vector<AttentionRow> rows;
    std::vector<float> out;
    AttentionArgs one = args(rows, out);
    one.rows = 1;
    for (const AttentionRow& row : rows) {
      one.row_list = &row;
      variant.attention(one);
    }
    return out;
  }

  /// Segments in separate calls of `step` segments, then merged.
  std::vector<float> run_split(const AttentionVariant& variant, int64_t step) {
    std::vector<AttentionRow> rows;
    std::vector<float> out;
    const AttentionArgs all = args(rows, out);
    const int64_t segments = (shape_.keys + kSegmentKeys - 1) / kSegmentKeys;
    const int64_t floats = attention_state_floats(shape_.value_size);
    core::AlignedBuffer partial = buffer(segments * all.rows * floats * 4);
    for (int64_t begin = 0; begin < segments; begin += step) {
      variant.attention_segments(all, begin, std::min(begin + step, segments),
                                 partial.as<float>() + begin * all.rows * floats);
    }
    variant.attention_merge(all, segments, partial.as<float>(), 0, all.rows / 2);
    variant.attention_merge(all, segments, partial.as<float>(), all.rows / 2, all.rows);
    return out;
  }

  /// Writes a key or value with one number that is not finite.
  void spoil(int64_t position, float wrong, bool in_value) {
    auto row = numbers(shape_.head_size, 1.0F);
    row[5] = wrong;
    const auto chunk = static_cast<size_t>(position / kChunkKeys);
    if (in_value) {
      store_value(shape_.format, shape_.value_size, row.data(), values_[chunk].data(), position % kChunkKeys);
    } else {
      store_key(shape_.format, shape_.head_size, row.data(), keys_[chunk].data(), position % kChunkKeys);
    }
  }

  /// From here on the cache holds in float32 what was read back from it. One copy alone.
  void read_back() {
    for (int64_t i = 0; i < shape_.keys; ++i) {
      const auto chunk = static_cast<size_t>(i / kChunkKeys);
      std::vector<float> row(static_cast<size_t>(shape_.head_size));
      load_value(shape_.format, shape_.head_size, values_[chunk].data(), i % kChunkKeys, row.data());
      if (i % kChunkKeys == 0) keys_[chunk] = buffer(value_chunk_bytes(CacheFormat::kF32, shape_.head_size));
      store_value(CacheFormat::kF32, shape_.head_size, row.data(), keys_[chunk].data(), i % kChunkKeys);
      value_chunks_[chunk] = keys_[chunk].data();
    }
    shape_.format = CacheFormat::kF32;
  }

  /// Scores of all rows, [rows][keys from first_key on]; -7 where nothing is written.
  std::vector<float> scores(const AttentionVariant& variant, int64_t first_key, bool alone) {
    std::vector<AttentionRow> rows;
    std::vector<float> out;
    AttentionArgs all = args(rows, out);
    const int64_t stride = shape_.keys - first_key;
    std::vector<float> scores(rows.size() * static_cast<size_t>(stride), -7.0F);
    if (!alone) {
      variant.attention_scores(all, first_key, scores.data(), stride);
      return scores;
    }
    all.rows = 1;
    for (size_t i = 0; i < rows.size(); ++i) {
      all.row_list = &rows[i];
      variant.attention_scores(all, first_key, scores.data() + i * static_cast<size_t>(stride), stride);
    }
    return scores;
  }

  /// The same in double precision from what the cache holds.
  std::vector<double> truth_of_scores(int64_t first_key) const {
    const auto stride = static_cast<size_t>(shape_.keys - first_key);
    std::vector<double> out(visible_.size() * stride, -7.0);
    for (size_t i = 0; i < visible_.size(); ++i) {
      const auto row = true_scores(i);
      std::ranges::copy(row, out.begin() + static_cast<int64_t>(i * stride) + visible_[i].first_key - first_key);
    }
    return out;
  }

  /// Softmax attention in double precision from what the cache holds.
  std::vector<double> truth() const {
    std::vector<double> out;
    for (size_t i = 0; i < visible_.size(); ++i) {
      const auto row = truth_row(i);
      out.insert(out.end(), row.begin(), row.end());
    }
    return out;
  }

 private:
  bool one_copy() const { return shape_.joined && !shape_.split; }
  void load(int64_t k, std::vector<float>& key, std::vector<float>& value) const {
    const std::byte* values = value_chunks_[static_cast<size_t>(k / 64)];
    if (one_copy()) {
      load_value(shape_.format, shape_.head_size, values, k % 64, key.data());
      std::copy_n(key.begin(), value.size(), value.begin());
      return;
    }
    load_key(shape_.format, shape_.head_size, key_chunks_[static_cast<size_t>(k / 64)], k % 64, key.data());
    load_value(shape_.format, shape_.value_size, values, k % 64, value.data());
  }
  std::vector<double> true_scores(size_t index) const {
    const AttentionRow& row = visible_[index];
    const std::vector<float>& query = queries_[index];
    const double scale = static_cast<double>(1.0F / std::sqrt(static_cast<float>(shape_.head_size)));
    std::vector<double> scores;
    std::vector<float> key(query.size());
    std::vector<float> value(static_cast<size_t>(shape_.value_size));
    for (int64_t k = row.first_key; k <= row.last_key; ++k) {
      load(k, key, value);
      double s = 0;
      for (size_t d = 0; d < key.size(); ++d) s += static_cast<double>(query[d]) * static_cast<double>(key[d]);
      s *= scale;
      if (shape_.soft_cap > 0)
        s = static_cast<double>(shape_.soft_cap) * std::tanh(s / static_cast<double>(shape_.soft_cap));
      if (shape_.bias_reach > 0) {
        const int64_t distance = std::clamp(k - row.position, -shape_.bias_reach, shape_.bias_reach);
        s += static_cast<double>(biases_[index][static_cast<size_t>(distance + shape_.bias_reach + 15)]);
      }
      scores.push_back(s);
    }
    return scores;
  }
  std::vector<double> truth_row(size_t index) const {
    const AttentionRow& row = visible_[index];
    std::vector<double> out(static_cast<size_t>(shape_.value_size));
    std::vector<float> key(static_cast<size_t>(shape_.head_size));
    std::vector<float> value(out.size());
    std::vector<double> scores = true_scores(index);
    double top = static_cast<double>(row.sink);
    for (const double s : scores) top = std::max(top, s);
    double sum = std::exp(static_cast<double>(row.sink) - top);
    for (double& s : scores) sum += s = std::exp(s - top);
    for (int64_t k = row.first_key; k <= row.last_key; ++k) {
      load(k, key, value);
      const double p = scores[static_cast<size_t>(k - row.first_key)] / sum;
      for (size_t d = 0; d < value.size(); ++d) out[d] += p * static_cast<double>(value[d]);
    }
    return out;
  }

  Shape shape_;
  std::mt19937 random_;
  core::AlignedBuffer scratch_;
  std::vector<core::AlignedBuffer> keys_;
  std::vector<core::AlignedBuffer> values_;
  std::vector<const std::byte*> key_chunks_;
  std::vector<const std::byte*> value_chunks_;
  std::vector<std::vector<float>> queries_;
  std::vector<AttentionRow> visible_;
  std::vector<std::vector<float>> biases_;  ///< one table per row
};

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

double worst_error(const std::vector<float>& got, const std::vector<double>& truth) {
  double worst = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double error = std::fabs(static_cast<double>(got[i]) - truth[i]);
    if (!(error <= worst)) worst = error;
  }
  return worst;
}

std::vector<Shape> shapes() {
  std::vector<Shape> list;
  for (const CacheFormat format : cache_formats()) {
    list.push_back({format, 64, 64, 1100, 0});
    list.push_back({format, 80, 80, 600, 0});
    list.push_back({format, 128, 96, 200, 30.0F});
    list.push_back({format, 24, 40, 130, 0});
    list.push_back({format, 7, 5, 70, 5.0F});
    list.push_back({format, 80, 64, 600, 0, true});
    list.push_back({format, 39, 21, 130, 30.0F, true});
    list.push_back({format, 32, 32, 700, 0, false, false, 40});
    list.push_back({format, 16, 16, 300, 30.0F, false, false, 200});
    list.push_back({format, 16, 16, 130, 0, false, false, 3});
    list.push_back({format, 40, 24, 200, 0, true, false, 50});
  }
  return list;
}

/// Rows whose last key lies around every border, with and without windows and sinks, and rows that see nothing.
void add_rows(Fixture& fixture, const Shape& shape) {
  for (const int64_t last : {int64_t{0}, int64_t{1}, int64_t{15}, int64_t{16}, int64_t{62}, int64_t{63}, int64_t{64},
                             int64_t{65}, int64_t{127}, int64_t{510}, int64_t{511}, int64_t{512}, int64_t{513},
                             int64_t{1023}, int64_t{1024}, shape.keys - 1}) {
    if (last >= shape.keys) continue;
    fixture.add_row(0, last);
    fixture.add_row(std::max<int64_t>(last - 39, 0), last);
    fixture.add_row(last, last, 1.5F);
    fixture.add_row(last + 1, last);
  }
  // A prompt of neighbouring tokens with three heads each.
  for (int64_t token = 0; token < 40; ++token) {
    for (int head = 0; head < 3; ++head) fixture.add_row(0, std::min(shape.keys - 1, 30 + token));
  }
}

class Attention : public testing::Test {
 protected:
  void SetUp() override { core::set_float_mode(); }
};

TEST_F(Attention, MatchesDoublePrecisionInEveryVariantAndFormat) {
  for (const Shape& shape : shapes()) {
    Fixture fixture(shape, 1);
    add_rows(fixture, shape);
    const auto truth = fixture.truth();
    for (const auto* variant : attention_variants()) {
      if (!core::cpu_has(variant->isa)) continue;
      // Integers of 16 bits stand for queries and probabilities where keys and values are integers, too.
      const double bound = shape.format == CacheFormat::kQ8_0 && !shape.joined ? 1e-3 : 3e-6;
      EXPECT_LT(worst_error(fixture.run(*variant), truth), bound)
          << core::isa_name(variant->isa) << " " << cache_format_name(shape.format) << " " << shape.head_size;
    }
  }
}

TEST_F(Attention, VariantsGroupingAndSplitsGiveTheSameBits) {
  for (const Shape& shape : shapes()) {
    Fixture fixture(shape, 2);
    add_rows(fixture, shape);
    const auto expected = fixture.run_alone(*attention_variants().front());
    for (const auto* variant : attention_variants()) {
      if (!core::cpu_has(variant->isa)) continue;
      SCOPED_TRACE(testing::Message() << core::isa_name(variant->isa) << " " << cache_format_name(shape.format) << " "
                                      << shape.head_size);
      EXPECT_TRUE(same_bits(fixture.run(*variant), expected));
      EXPECT_TRUE(same_bits(fixture.run_alone(*variant), expected));
      EXPECT_TRUE(same_bits(fixture.run_split(*variant, 1), expected));
      EXPECT_TRUE(same_bits(fixture.run_split(*variant, 2), expected));
    }
  }
}

TEST_F(Attention, ScoresAreThoseOfTheSoftmaxInEveryVariantAndFormat) {
  for (const Shape& shape : shapes()) {
    for (const int64_t first_key : {int64_t{0}, int64_t{37}}) {
      Fixture fixture(shape, 9);
      if (first_key == 0) add_rows(fixture, shape);
      for (int64_t last = 37; last < shape.keys; last += 13) fixture.add_row(37 + last % 5, last, 2.0F);
      const auto expected = fixture.scores(*attention_variants().front(), first_key, true);
      const double bound = shape.format == CacheFormat::kQ8_0 && !shape.joined ? 2e-3 : 2e-5;
      EXPECT_LT(worst_error(expected, fixture.truth_of_scores(first_key)), bound);
      for (const auto* variant : attention_variants()) {
        if (!core::cpu_has(variant->isa)) continue;
        SCOPED_TRACE(testing::Message() << core::isa_name(variant->isa) << " " << cache_format_name(shape.format) << " "
                                        << shape.head_size);
        EXPECT_TRUE(same_bits(fixture.scores(*variant, first_key, false), expected));
        EXPECT_TRUE(same_bits(fixture.scores(*variant, first_key, true), expected));
      }
    }
  }
}

TEST_F(Attention, OneCopyOfKeysAndValuesGivesTheBitsOfTwo) {
  for (const auto format : {CacheFormat::kF32, CacheFormat::kF16, CacheFormat::kBf16}) {
    for (Shape shape : {Shape{format, 80, 64, 600, 0, true}, Shape{format, 39, 21, 130, 30.0F, true}}) {
      Fixture joined(shape, 6);
      add_rows(joined, shape);
      shape.split = true;
      Fixture apart(shape, 6);
      add_rows(apart, shape);
      const auto expected = apart.run(*attention_variants().front());
      for (const auto* variant : attention_variants()) {
        if (!core::cpu_has(variant->isa)) continue;
        EXPECT_TRUE(same_bits(joined.run(*variant), expected))
            << core::isa_name(variant->isa) << " " << shape.head_size;
        EXPECT_TRUE(same_bits(apart.run(*variant), expected)) << core::isa_name(variant->isa) << " " << shape.head_size;
      }
    }
  }
}

TEST_F(Attention, OneCopyInIntegersIsReadBackToFloat32) {
  for (const Shape& shape :
       {Shape{CacheFormat::kQ8_0, 80, 64, 600, 0, true}, Shape{CacheFormat::kQ8_0, 39, 21, 130, 30.0F, true}}) {
    Fixture fixture(shape, 8);
    add_rows(fixture, shape);
    std::vector<std::vector<float>> found;
    for (const auto* variant : attention_variants()) {
      if (core::cpu_has(variant->isa)) found.push_back(fixture.run(*variant));
    }
    fixture.read_back();
    const auto expected = fixture.run(*attention_variants().front());
    for (const auto& one : found) EXPECT_TRUE(same_bits(one, expected));
  }
}

TEST_F(Attention, LargeScoresAndZeroValuesKeepTheirBits) {
  Fixture fixture({CacheFormat::kF32, 64, 64, 300, 0}, 3);
  for (int64_t i = 0; i < 20; ++i) fixture.add_row(i, 200 + i, i % 2 == 0 ? 300.0F : kNoSink);
  const auto expected = fixture.run_alone(*attention_variants().front());
  for (const float x : expected) EXPECT_FALSE(std::signbit(x) && x == 0.0F);
  for (const auto* variant : attention_variants()) {
    if (!core::cpu_has(variant->isa)) continue;
    EXPECT_TRUE(same_bits(fixture.run(*variant), expected));
  }
}

TEST_F(Attention, RowThatSeesNothingIsZero) {
  Fixture fixture({CacheFormat::kF16, 64, 64, 64, 0}, 4);
  fixture.add_row(5, 4);
  for (const auto* variant : attention_variants()) {
    if (!core::cpu_has(variant->isa)) continue;
    for (const float x : fixture.run(*variant)) EXPECT_EQ(x, 0.0F);
  }
}

TEST_F(Attention, StoresRoundTheSameInEveryVariant) {
  std::mt19937 random(5);
  for (const CacheFormat format : cache_formats()) {
    const int64_t size = 37;
    std::vector<float> numbers(static_cast<size_t>(size));
    for (int round = 0; round < 2000; ++round) {
      for (float& x : numbers) x = std::bit_cast<float>(static_cast<uint32_t>(random()));
      const auto bytes = static_cast<size_t>(value_chunk_bytes(format, size));
      std::vector<std::byte> expected_keys(bytes), expected_values(bytes), keys(bytes), values(bytes);
      attention_variants()[0]->store_key(format, size, numbers.data(), expected_keys.data(), round % 64);
      attention_variants()[0]->store_value(format, size, numbers.data(), expected_values.data(), round % 64);
      for (const auto* variant : attention_variants().subspan(1)) {
        if (!core::cpu_has(variant->isa)) continue;
        variant->store_key(format, size, numbers.data(), keys.data(), round % 64);
        variant->store_value(format, size, numbers.data(), values.data(), round % 64);
        ASSERT_EQ(keys, expected_keys) << core::isa_name(variant->isa) << " " << cache_format_name(format);
        ASSERT_EQ(values, expected_values) << core::isa_name(variant->isa) << " " << cache_format_name(format);
      }
    }
  }
}

TEST_F(Attention, HalfRoundsToNearestEven) {
  const std::vector<float> known{1.0F, -2.0F, 65504.0F, 0x1p-24F, 0x1.ffcp-15F, 1.0F / 3.0F, 70000.0F, 0x1p-26F};
  const std::vector<float> rounded{1.0F, -2.0F, 65504.0F, 0x1p-24F, 0x1p-14F, 0x1.554p-2F, INFINITY, 0.0F};
  std::vector<std::byte> chunk(static_cast<size_t>(value_chunk_bytes(CacheFormat::kF16, 8)));
  std::vector<float> back(8);
  store_value(CacheFormat::kF16, 8, known.data(), chunk.data(), 3);
  load_value(CacheFormat::kF16, 8, chunk.data(), 3, back.data());
  EXPECT_EQ(back, rounded);
}

TEST_F(Attention, IntegersHaveAScaleRoundedUp) {
  // 1 / 127 lies above 2^-7 (1 + 1/128), so the scale is the next bfloat16, and 126 of it are nearest to 1.
  constexpr float kScale = 0x1.04p-7F;
  std::vector<float> numbers(70, 0.25F);
  numbers[0] = 1.0F;
  numbers[1] = -0.5F;
  numbers[40] = 127.0F;
  numbers[41] = 0.5F;
  numbers[42] = 1.5F;
  numbers[66] = 1e-31F;
  std::vector<std::byte> chunk(static_cast<size_t>(key_chunk_bytes(CacheFormat::kQ8_0, 70)));
  std::vector<float> back(70);
  store_key(CacheFormat::kQ8_0, 70, numbers.data(), chunk.data(), 37);
  load_key(CacheFormat::kQ8_0, 70, chunk.data(), 37, back.data());
  EXPECT_EQ(back[0], 126 * kScale);
  EXPECT_EQ(back[1], -63 * kScale);
  EXPECT_EQ(back[2], 32 * kScale);
  EXPECT_EQ(back[40], 127.0F);
  EXPECT_EQ(back[41], 0.0F);  // ties go to even
  EXPECT_EQ(back[42], 2.0F);
  std::fill_n(numbers.begin() + 64, 6, 1e-31F);
  store_key(CacheFormat::kQ8_0, 70, numbers.data(), chunk.data(), 37);
  load_key(CacheFormat::kQ8_0, 70, chunk.data(), 37, back.data());
  EXPECT_EQ(back[66], 0.0F);
}

TEST_F(Attention, IntegersPassOnWhatIsNotFinite) {
  constexpr int64_t kSize = 32;
  const Shape shape{CacheFormat::kQ8_0, kSize, kSize, 100};
  for (const float wrong : {INFINITY, -INFINITY, NAN}) {
    for (const bool in_value : {false, true}) {
      Fixture fixture(shape, 9);
      fixture.add_row(0, 69);
      fixture.add_row(0, 70);
      fixture.spoil(70, wrong, in_value);
      for (const auto* variant : attention_variants()) {
        if (!core::cpu_has(variant->isa)) continue;
        const auto out = fixture.run(*variant);
        EXPECT_TRUE(std::isfinite(out[0])) << core::isa_name(variant->isa);
        EXPECT_TRUE(std::isnan(out[kSize])) << core::isa_name(variant->isa);
      }
    }
  }
}

}  // namespace
}  // namespace lamina::kernels
