#include "cache/kv_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "core/thread_pool.h"

namespace lamina::cache {
namespace {

using kernels::CacheFormat;

KvCacheOptions options(int64_t tokens, int32_t sequences) {
  KvCacheOptions options;
  options.visits = {{3, 16, 8, CacheFormat::kF32}, {0, 0, 0, CacheFormat::kF32}, {2, 24, 24, CacheFormat::kF16}};
  options.tokens = tokens;
  options.sequences = sequences;
  return options;
}

KvCache make(const KvCacheOptions& options) {
  auto cache = KvCache::create(options);
  EXPECT_TRUE(cache.has_value()) << cache.error().text();
  return std::move(*cache);
}

/// A number that names its place and is exact in f16.
float mark(int64_t visit, SequenceId id, int64_t position, int64_t number) {
  return static_cast<float>((visit * 7 + id.index * 131 + position * 3 + number) % 2048);
}

void write(KvCache& cache, int64_t visit, SequenceId id, int64_t position, float shift = 0) {
  const VisitShape shape = cache.visits()[static_cast<size_t>(visit)];
  std::vector<float> keys;
  std::vector<float> values;
  for (int64_t i = 0; i < shape.kv_heads * shape.key_size; ++i) keys.push_back(mark(visit, id, position, i) + shift);
  for (int64_t i = 0; i < shape.kv_heads * shape.value_size; ++i) {
    values.push_back(-mark(visit, id, position, i) - shift);
  }
  cache.write(visit, id, position, keys.data(), values.data());
}

void expect(const KvCache& cache, int64_t visit, SequenceId id, SequenceId writer, int64_t position) {
  const VisitShape shape = cache.visits()[static_cast<size_t>(visit)];
  std::vector<float> key(static_cast<size_t>(shape.key_size));
  std::vector<float> value(static_cast<size_t>(shape.value_size));
  const auto chunk = static_cast<size_t>(position / 64);
  for (int64_t head = 0; head < shape.kv_heads; ++head) {
    kernels::load_key(shape.format, shape.key_size, cache.key_chunks(visit, id, head)[chunk], position % 64,
                      key.data());
    kernels::load_value(shape.format, shape.value_size, cache.value_chunks(visit, id, head)[chunk], position % 64,
                        value.data());
    for (size_t d = 0; d < key.size(); ++d) {
      ASSERT_EQ(key[d], mark(visit, writer, position, head * shape.key_size + static_cast<int64_t>(d)));
    }
    for (size_t d = 0; d < value.size(); ++d) {
      ASSERT_EQ(value[d], -mark(visit, writer, position, head * shape.value_size + static_cast<int64_t>(d)));
    }
  }
}

void fill(KvCache& cache, SequenceId id, int64_t from, int64_t to) {
  ASSERT_TRUE(cache.reserve(id, to).has_value());
  for (int64_t p = from; p < to; ++p) {
    write(cache, 0, id, p);
    write(cache, 2, id, p);
  }
  cache.set_length(id, to);
}

void expect_all(const KvCache& cache, SequenceId id, SequenceId writer, int64_t length) {
  for (int64_t p = 0; p < length; ++p) {
    expect(cache, 0, id, writer, p);
    expect(cache, 2, id, writer, p);
  }
}

TEST(VisitShape, CountsTheBytesOfAPosition) {
  EXPECT_EQ((VisitShape{.kv_heads = 3, .key_size = 64, .value_size = 64, .format = CacheFormat::kF16}).position_bytes(),
            3 * 2 * 128);
  // A bfloat16 scale for 32 numbers of a key, for 64 of a value.
  EXPECT_EQ(
      (VisitShape{.kv_heads = 3, .key_size = 80, .value_size = 80, .format = CacheFormat::kQ8_0}).position_bytes(),
      3 * (80 + 3 * 2 + 80 + 2 * 2));
  EXPECT_EQ(
      (VisitShape{.kv_heads = 1, .key_size = 576, .value_size = 512, .format = CacheFormat::kQ8_0, .joined = true})
          .position_bytes(),
      576 + 9 * 2);
  EXPECT_EQ(VisitShape{.state_floats = 5}.position_bytes(), 0);
}

TEST(KvCache, InterleavedSequencesKeepTheirOwnNumbers) {
  KvCache cache = make(options(1000, 3));
  std::vector<SequenceId> ids;
  for (int i = 0; i < 3; ++i) ids.push_back(*cache.open());
  for (int64_t p = 0; p < 300; p += 50) {
    for (const SequenceId id : ids) fill(cache, id, p, p + 50);
  }
  for (const SequenceId id : ids) {
    EXPECT_EQ(cache.length(id), 300);
    expect_all(cache, id, id, 300);
  }
}

TEST(KvCache, LimitsAreErrorsThatNameBothNumbersAndChangeNothing) {
  KvCache cache = make(options(128, 2));
  EXPECT_EQ(cache.block_count(), 3);
  const SequenceId a = *cache.open();
  const SequenceId b = *cache.open();
  const auto full = cache.open();
  ASSERT_FALSE(full.has_value());
  EXPECT_EQ(full.error().code, core::ErrorCode::kLimit);
  const auto longer = cache.reserve(a, 129);
  ASSERT_FALSE(longer.has_value());
  EXPECT_EQ(longer.error().text(), "cache: 129 tokens wanted; a sequence holds at most 128");
  ASSERT_TRUE(cache.reserve(a, 128).has_value());
  const auto none = cache.reserve(b, 65);
  ASSERT_FALSE(none.has_value());
  EXPECT_EQ(none.error().code, core::ErrorCode::kLimit);
  EXPECT_EQ(none.error().text(), "cache: 128 more tokens wanted; 64 are free of 192");
  EXPECT_EQ(cache.reserved(b), 0);
  ASSERT_TRUE(cache.reserve(b, 64).has_value());
}

TEST(KvCache, TruncateFreesBlocksAndRewritesWork) {
  KvCache cache = make(options(256, 2));
  const SequenceId a = *cache.open();
  fill(cache, a, 0, 200);
  EXPECT_EQ(cache.free_blocks(), cache.block_count() - 4);
  EXPECT_EQ(cache.truncate(a, 70), 70);
  EXPECT_EQ(cache.length(a), 70);
  EXPECT_EQ(cache.free_blocks(), cache.block_count() - 2);
  expect_all(cache, a, a, 70);
  const SequenceId b = *cache.open();
  fill(cache, b, 0, 130);
  fill(cache, a, 70, 100);
  expect_all(cache, a, a, 100);
  expect_all(cache, b, b, 130);
  EXPECT_EQ(cache.truncate(a, 500), 100);
  EXPECT_EQ(cache.length(a), 100);
}

TEST(KvCache, ForkCopiesAndThenGoesItsOwnWay) {
  KvCache cache = make(options(512, 2));
  const SequenceId a = *cache.open();
  fill(cache, a, 0, 130);
  const auto b = cache.fork(a, 100);
  ASSERT_TRUE(b.has_value());
  EXPECT_EQ(cache.length(*b), 100);
  expect_all(cache, *b, a, 100);
  ASSERT_EQ(cache.truncate(*b, 99), 99);
  ASSERT_TRUE(cache.reserve(*b, 100).has_value());
  write(cache, 0, *b, 99, 5.0F);
  expect_all(cache, a, a, 130);
  EXPECT_FALSE(cache.fork(a, 131).has_value());
}

/// Visit 0 keeps keys and a state, visit 1 only a state.
KvCacheOptions with_states(int64_t tokens, int32_t sequences) {
  KvCacheOptions options{.visits = {}, .tokens = tokens, .sequence_tokens = 0, .sequences = sequences};
  options.visits.push_back({.kv_heads = 1, .key_size = 8, .value_size = 8, .state_floats = 5});
  options.visits.push_back({.state_floats = 33});
  return options;
}

std::vector<float> state_of(KvCache& cache, int64_t visit, SequenceId id) {
  const float* state = cache.state(visit, id);
  return {state, state + cache.visits()[static_cast<size_t>(visit)].state_floats};
}

void advance(KvCache& cache, SequenceId id, int64_t to) {
  ASSERT_TRUE(cache.reserve(id, to).has_value());
  for (const int64_t visit : {0, 1}) {
    float* state = cache.state(visit, id);
    const int64_t size = cache.visits()[static_cast<size_t>(visit)].state_floats;
    for (int64_t i = 0; i < size; ++i) state[i] = mark(visit, id, to, i) + 1.0F;
  }
  cache.set_length(id, to);
}

TEST(KvCache, StatesStartAtZeroAndBelongToTheirSequenceAndVisit) {
  KvCache cache = make(with_states(256, 2));
  const SequenceId a = *cache.open();
  const SequenceId b = *cache.open();
  advance(cache, a, 10);
  for (const int64_t visit : {0, 1}) {
    EXPECT_THAT(state_of(cache, visit, b), testing::Each(0.0F));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(cache.state(visit, b)) % 64, 0U);
  }
  advance(cache, b, 20);
  EXPECT_EQ(state_of(cache, 0, a)[4], mark(0, a, 10, 4) + 1.0F);
  EXPECT_EQ(state_of(cache, 1, a)[32], mark(1, a, 10, 32) + 1.0F);
  cache.close(a);
  const SequenceId again = *cache.open();
  EXPECT_EQ(again, a);
  EXPECT_THAT(state_of(cache, 1, again), testing::Each(0.0F));
}

TEST(KvCache, AStateIsKeptWholeOrStartsAgain) {
  KvCache cache = make(with_states(256, 1));
  const SequenceId a = *cache.open();
  advance(cache, a, 100);
  const std::vector<float> before = state_of(cache, 1, a);
  EXPECT_EQ(cache.truncate(a, 100), 100);
  EXPECT_EQ(cache.truncate(a, 180), 100);
  EXPECT_EQ(state_of(cache, 1, a), before);
  EXPECT_EQ(cache.truncate(a, 99), 0);
  EXPECT_EQ(cache.length(a), 0);
  EXPECT_EQ(cache.free_blocks(), cache.block_count());
  EXPECT_THAT(state_of(cache, 0, a), testing::Each(0.0F));
  EXPECT_THAT(state_of(cache, 1, a), testing::Each(0.0F));
}

TEST(KvCache, ForkCopiesStatesOrTakesNothing) {
  KvCache cache = make(with_states(256, 3));
  const SequenceId a = *cache.open();
  advance(cache, a, 70);
  const SequenceId whole = *cache.fork(a, 70);
  EXPECT_EQ(cache.length(whole), 70);
  EXPECT_EQ(state_of(cache, 0, whole), state_of(cache, 0, a));
  EXPECT_EQ(state_of(cache, 1, whole), state_of(cache, 1, a));
  const SequenceId part = *cache.fork(a, 64);
  EXPECT_EQ(cache.length(part), 0);
  EXPECT_THAT(state_of(cache, 1, part), testing::Each(0.0F));
  EXPECT_EQ(cache.length(a), 70);
}

TEST(KvCache, StatesCountAndAreChecked) {
  const int64_t without = KvCache::bytes(options(128, 3)).total();
  KvCacheOptions wanted = options(128, 3);
  wanted.visits[1].state_floats = 100;
  EXPECT_EQ(KvCache::bytes(wanted).total(), without + 3 * 448);  // 400 bytes in whole cache lines
  wanted.visits[1].state_floats = -1;
  EXPECT_EQ(KvCache::create(wanted).error().text(), "cache: visit 1: a state of -1 numbers; 0 or more expected");
}

TEST(KvCache, CloseGivesEverythingBack) {
  KvCache cache = make(options(256, 1));
  for (int round = 0; round < 5; ++round) {
    const SequenceId id = *cache.open();
    fill(cache, id, 0, 256);
    expect_all(cache, id, id, 256);
    cache.close(id);
    EXPECT_EQ(cache.free_blocks(), cache.block_count());
  }
}

TEST(KvCache, AForkTakesNoBlockUntilItWrites) {
  KvCache cache = make(options(128, 2));
  const SequenceId a = *cache.open();
  fill(cache, a, 0, 128);
  const auto copy = cache.fork(a, 100);
  ASSERT_TRUE(copy.has_value());
  EXPECT_EQ(cache.free_blocks(), 1);
  EXPECT_EQ(cache.lacking(*copy, 101), 1);
  ASSERT_TRUE(cache.reserve(*copy, 101).has_value());
  EXPECT_EQ(cache.free_blocks(), 0);
  expect_all(cache, *copy, a, 100);
  EXPECT_FALSE(cache.fork(a, 128).has_value());  // two are open
}

TEST(KvCache, PointerTablesStayWhereTheyAre) {
  KvCache cache = make(options(512, 1));
  const SequenceId id = *cache.open();
  ASSERT_TRUE(cache.reserve(id, 1).has_value());
  const auto before = cache.key_chunks(2, id, 1);
  const std::byte* first = before[0];
  ASSERT_TRUE(cache.reserve(id, 512).has_value());
  const auto after = cache.key_chunks(2, id, 1);
  EXPECT_EQ(after.data(), before.data());
  EXPECT_EQ(after.size(), 8U);
  EXPECT_EQ(after[0], first);
  for (const std::byte* chunk : after) EXPECT_EQ(reinterpret_cast<uintptr_t>(chunk) % 64, 0U);
}

TEST(KvCache, ThreadsWriteDifferentPositionsAtOnce) {
  KvCache cache = make(options(512, 1));
  const SequenceId id = *cache.open();
  ASSERT_TRUE(cache.reserve(id, 512).has_value());
  core::ThreadPool pool(4);
  pool.run([&](int index, int count) {
    for (int64_t p = index; p < 512; p += count) {
      write(cache, 0, id, p);
      write(cache, 2, id, p);
    }
  });
  cache.set_length(id, 512);
  expect_all(cache, id, id, 512);
}

TEST(KvCache, JoinedVisitsKeepOneRowPerPosition) {
  for (const CacheFormat format : {CacheFormat::kF32, CacheFormat::kF16, CacheFormat::kBf16}) {
    KvCacheOptions wanted;
    wanted.visits = {{2, 24, 8, format}, {2, 24, 20, format, true}};
    wanted.tokens = 128;
    KvCache cache = make(wanted);
    const SequenceId id = *cache.open();
    ASSERT_TRUE(cache.reserve(id, 128).has_value());
    std::vector<float> numbers(48);
    for (int64_t p = 0; p < 128; ++p) {
      for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<float>((p + static_cast<int64_t>(i)) % 200);
      cache.write(1, id, p, numbers.data(), nullptr);
    }
    EXPECT_EQ(cache.key_chunks(1, id, 0).data(), nullptr);
    std::vector<float> row(24);
    for (int64_t p = 0; p < 128; ++p) {
      for (int64_t head = 0; head < 2; ++head) {
        kernels::load_value(format, 24, cache.value_chunks(1, id, head)[static_cast<size_t>(p / 64)], p % 64,
                            row.data());
        for (int64_t i = 0; i < 24; ++i)
          ASSERT_EQ(row[static_cast<size_t>(i)], static_cast<float>((p + head * 24 + i) % 200));
      }
    }
  }
}

TEST(KvCache, JoinedVisitsTakeTheBytesOfTheirKeysAlone) {
  // The latent of 512 and the 64 rotated numbers of DeepSeek V2 and V3, 27 times, in halves.
  KvCacheOptions wanted;
  wanted.visits.assign(27, {1, 512 + 64, 512, CacheFormat::kF16, true});
  wanted.tokens = 64 * 10;
  const int64_t rows = wanted.tokens * 27 * (512 + 64) * 2;
  const int64_t tables = 10 * (27 * 8 + 4) + 3 * 10 * 4;
  EXPECT_EQ(KvCache::bytes(wanted).latents, rows);
  EXPECT_EQ(KvCache::bytes(wanted).total(), rows + tables);
  wanted.visits[3].value_size = 577;
  EXPECT_EQ(KvCache::create(wanted).error().code, core::ErrorCode::kInvalid);
}

TEST(KvCache, PlanIsCheckedAndCountsItsBytes) {
  KvCacheOptions bad = options(0, 1);
  EXPECT_EQ(KvCache::create(bad).error().code, core::ErrorCode::kInvalid);
  bad = options(64, 1);
  bad.visits[0].value_size = 0;
  EXPECT_EQ(KvCache::create(bad).error().code, core::ErrorCode::kInvalid);
  // Two blocks of visit 0 (3 heads of 16 + 16 padded floats) and visit 2 (2 heads of 24 + 32 padded halves).
  const int64_t block = 64 * (3 * (16 + 16) * 4 + 2 * (24 + 32) * 2);
  EXPECT_EQ(KvCache::bytes(options(128, 1)).whole, 2 * block);
  EXPECT_LE(KvCache::bytes(options(128, 1)).total(), 2 * block + 1024);
}

}  // namespace
}  // namespace lamina::cache
