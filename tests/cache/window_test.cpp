// Visits that keep a window: what a row reads is there, whatever was written, forgotten and copied before.
#include <gtest/gtest.h>

#include <random>
#include <set>
#include <vector>

#include "cache/kv_cache.h"

namespace lamina::cache {
namespace {

constexpr int64_t kStep = 50;
constexpr int64_t kWindows[] = {0, 100, 7};

/// A visit that keeps everything, and two with windows.
KvCacheOptions options(int64_t tokens, int32_t sequences) {
  KvCacheOptions options{
      .visits = {}, .tokens = tokens, .sequence_tokens = 0, .sequences = sequences, .step_tokens = kStep};
  for (const int64_t window : kWindows) {
    options.visits.push_back({.kv_heads = 2, .key_size = 8, .value_size = 16, .window = window});
  }
  return options;
}

KvCache make(const KvCacheOptions& options) {
  auto cache = KvCache::create(options);
  EXPECT_TRUE(cache.has_value()) << cache.error().text();
  return std::move(*cache);
}

/// A sequence and the number that was written at each of its positions.
struct Written {
  SequenceId id;
  std::vector<float> numbers;
  int64_t length() const { return static_cast<int64_t>(numbers.size()); }
};

void write(KvCache& cache, Written& sequence, int64_t count, float& next) {
  const int64_t end = sequence.length() + count;
  ASSERT_TRUE(cache.reserve(sequence.id, end).has_value());
  for (int64_t position = sequence.length(); position < end; ++position) {
    for (int64_t visit = 0; visit < 3; ++visit) {
      const std::vector<float> keys(16, next + static_cast<float>(visit) / 4);
      const std::vector<float> values(32, -next - static_cast<float>(visit) / 4);
      cache.write(visit, sequence.id, position, keys.data(), values.data());
    }
    sequence.numbers.push_back(next++);
  }
}

/// Everything that rows from `position` on read is as it was written.
void expect_readable(const KvCache& cache, const Written& sequence, int64_t position) {
  for (int64_t visit = 0; visit < 3; ++visit) {
    const int64_t window = kWindows[visit];
    const int64_t first = window == 0 ? 0 : std::max<int64_t>(0, position - window + 1);
    for (int64_t p = first; p < sequence.length(); ++p) {
      std::vector<float> key(8);
      std::vector<float> value(16);
      const auto chunk = static_cast<size_t>(p / 64);
      const float wanted = sequence.numbers[static_cast<size_t>(p)] + static_cast<float>(visit) / 4;
      for (const int64_t head : {0, 1}) {
        const std::byte* keys = cache.key_chunks(visit, sequence.id, head)[chunk];
        const std::byte* values = cache.value_chunks(visit, sequence.id, head)[chunk];
        ASSERT_TRUE(keys != nullptr && values != nullptr) << "visit " << visit << ", position " << p;
        kernels::load_key(kernels::CacheFormat::kF32, 8, keys, p % 64, key.data());
        kernels::load_value(kernels::CacheFormat::kF32, 16, values, p % 64, value.data());
        ASSERT_EQ(key, std::vector<float>(8, wanted)) << "visit " << visit << ", position " << p;
        ASSERT_EQ(value, std::vector<float>(16, -wanted)) << "visit " << visit << ", position " << p;
      }
    }
  }
}

void step(KvCache& cache, Written& sequence, int64_t count, float& next) {
  const int64_t before = sequence.length();
  write(cache, sequence, count, next);
  expect_readable(cache, sequence, before);
  cache.set_length(sequence.id, sequence.length());
}

TEST(KvCacheWindow, BytesAreThoseOfTheWindowAndAStep) {
  const int64_t position = 2 * (8 + 16) * 4;
  // 100 - 1 positions before the 50 of a step span 4 chunks at most, 6 before them 2.
  const CacheBytes bytes = KvCache::bytes(options(64 * 20, 1));
  EXPECT_EQ(bytes.whole, 64 * 20 * position);
  EXPECT_EQ(bytes.windows, 64 * (4 + 2) * position);
  EXPECT_EQ(bytes.tables, 20 * 3 * 4 * 8 + 4 * (3 * 20 + 20 + 3 * 4 + 4 + 3 * 2 + 2));
  EXPECT_EQ(bytes.latents + bytes.states, 0);
  EXPECT_EQ(KvCache::bytes(options(64 * 20, 3)).windows, 3 * bytes.windows);
  // What a sequence holds at most is less than a window: all of it is kept.
  EXPECT_EQ(KvCache::bytes(options(64 * 2, 1)).windows, 0);
  KvCacheOptions wide = options(64 * 20, 1);
  wide.step_tokens = 0;
  EXPECT_EQ(KvCache::bytes(wide).windows, 0);
  wide.visits[1].window = -1;
  EXPECT_EQ(KvCache::create(wide).error().text(), "cache: visit 1: a window of -1; 0 or more expected");
}

TEST(KvCacheWindow, LargeNumbersDoNotOverflow) {
  KvCacheOptions wanted = options(640, 1);
  wanted.visits[1].window = INT64_MAX;
  wanted.step_tokens = INT64_MAX;
  EXPECT_EQ(KvCache::bytes(wanted).windows, 0);
}

TEST(KvCacheWindow, AStepFindsItsWindowWhereverItBegins) {
  KvCache cache = make(options(2000, 1));
  Written sequence{.id = *cache.open(), .numbers = {}};
  float next = 1;
  for (int64_t i = 0; sequence.length() < 1900; ++i) step(cache, sequence, i * 17 % kStep + 1, next);
  // Long past chunks are gone, and said to be.
  EXPECT_EQ(cache.key_chunks(1, sequence.id, 0)[10], nullptr);
  EXPECT_EQ(cache.value_chunks(2, sequence.id, 1)[10], nullptr);
  EXPECT_NE(cache.key_chunks(0, sequence.id, 0)[10], nullptr);
}

TEST(KvCacheWindow, TheLastStepCanBeForgottenAndLongAgoCannot) {
  KvCache cache = make(options(2000, 1));
  Written sequence{.id = *cache.open(), .numbers = {}};
  float next = 1;
  for (int64_t i = 0; i < 30; ++i) {
    step(cache, sequence, 13, next);
    const int64_t before = sequence.length();
    step(cache, sequence, kStep, next);
    ASSERT_EQ(cache.truncate(sequence.id, before), before);
    sequence.numbers.resize(static_cast<size_t>(before));
    expect_readable(cache, sequence, before);
  }
  ASSERT_EQ(sequence.length(), 390);
  EXPECT_EQ(cache.truncate(sequence.id, 500), 390);
  EXPECT_EQ(cache.truncate(sequence.id, 64), 0);
  EXPECT_EQ(cache.length(sequence.id), 0);
  EXPECT_EQ(cache.free_blocks(), cache.block_count());
  sequence.numbers.clear();
  for (int i = 0; i < 20; ++i) step(cache, sequence, 37, next);
}

TEST(KvCacheWindow, MoreThanAStepIsRefusedWhereTheWindowWouldGo) {
  KvCache cache = make(options(640, 1));
  const SequenceId id = *cache.open();
  ASSERT_TRUE(cache.reserve(id, 64).has_value());
  const auto status = cache.reserve(id, 300);
  ASSERT_FALSE(status.has_value());
  EXPECT_EQ(status.error().code, core::ErrorCode::kLimit);
  EXPECT_EQ(status.error().text(), "cache: 300 tokens wanted after 0; a window of 100 has room for 256 in all");
  EXPECT_EQ(cache.reserved(id), 64);
}

/// Any order of opening, writing, forgetting, copying and closing, beside a plain list of what was written.
class Random {
 public:
  explicit Random(uint32_t seed) : draw_(seed), cache_(make(options(1500, 4))) {}

  void act() {
    const int64_t what = pick(10);
    if (open_.empty() || what == 0) {
      if (auto id = cache_.open()) open_.push_back({.id = *id, .numbers = {}});
      return;
    }
    Written& sequence = open_[static_cast<size_t>(pick(std::ssize(open_)))];
    if (what < 7) {
      const int64_t count = 1 + pick(kStep);
      const int64_t blocks = cache_.lacking(sequence.id, sequence.length() + count);
      if (blocks <= cache_.free_blocks() && sequence.length() + count <= 1500) step(cache_, sequence, count, next_);
    } else if (what == 7) {
      truncate(sequence);
    } else if (what == 8) {
      fork(sequence);
    } else {
      cache_.close(sequence.id);
      std::swap(sequence, open_.back());
      open_.pop_back();
    }
  }

  void expect_all() {
    std::set<const std::byte*> blocks;  // forks share some
    for (const Written& sequence : open_) {
      ASSERT_EQ(cache_.length(sequence.id), sequence.length());
      for (const std::byte* chunk : cache_.key_chunks(0, sequence.id, 0)) blocks.insert(chunk);
      expect_readable(cache_, sequence, sequence.length());
    }
    ASSERT_EQ(cache_.free_blocks(), cache_.block_count() - std::ssize(blocks));
  }

 private:
  int64_t pick(int64_t count) { return static_cast<int64_t>(draw_() % static_cast<uint64_t>(count)); }

  void truncate(Written& sequence) {
    const int64_t wanted = std::max<int64_t>(0, sequence.length() - pick(200));
    const int64_t kept = cache_.truncate(sequence.id, wanted);
    EXPECT_TRUE(kept == wanted || kept == 0) << kept << " of " << wanted;
    (kept == wanted ? kept_ : lost_) += 1;
    sequence.numbers.resize(static_cast<size_t>(kept));
  }

  void fork(const Written& sequence) {
    const int64_t length = std::max<int64_t>(0, sequence.length() - pick(200));
    const auto copy = cache_.fork(sequence.id, length);
    if (!copy) return;
    const int64_t kept = cache_.length(*copy);
    EXPECT_TRUE(kept == length || kept == 0) << kept << " of " << length;
    Written written{.id = *copy, .numbers = sequence.numbers};
    written.numbers.resize(static_cast<size_t>(kept));
    open_.push_back(std::move(written));
  }

  std::mt19937 draw_;
  KvCache cache_;
  std::vector<Written> open_;
  float next_ = 1;

 public:
  int kept_ = 0;
  int lost_ = 0;
};

TEST(KvCacheWindow, AnyOrderOfUseKeepsWhatIsRead) {
  int kept = 0;
  int lost = 0;
  for (uint32_t seed = 0; seed < 20; ++seed) {
    Random random(seed);
    for (int i = 0; i < 200; ++i) {
      random.act();
      random.expect_all();
      if (HasFatalFailure()) FAIL() << "seed " << seed << ", action " << i;
    }
    kept += random.kept_;
    lost += random.lost_;
  }
  EXPECT_GT(kept, 50);
  EXPECT_GT(lost, 20);
}

}  // namespace
}  // namespace lamina::cache
