// Texts that begin alike go on from what is kept of others, and find the very numbers that they would have written.
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "cache/kv_cache.h"

namespace lamina::cache {
namespace {

constexpr int64_t kStep = 50;
constexpr int64_t kLongest = 700;

struct Shape {
  std::vector<int64_t> windows{0};
  int64_t state_floats = 0;
  int64_t tokens = 1400;
};

KvCacheOptions options(const Shape& shape, int32_t sequences) {
  KvCacheOptions options{.visits = {},
                         .tokens = shape.tokens,
                         .sequence_tokens = kLongest,
                         .sequences = sequences,
                         .step_tokens = kStep,
                         .keeps_texts = true};
  for (const int64_t window : shape.windows)
    options.visits.push_back({.kv_heads = 1, .key_size = 8, .value_size = 8, .window = window});
  if (shape.state_floats > 0) options.visits.push_back({.state_floats = shape.state_floats});
  return options;
}

KvCache make(const Shape& shape, int32_t sequences = 4) {
  auto cache = KvCache::create(options(shape, sequences));
  EXPECT_TRUE(cache.has_value()) << cache.error().text();
  return std::move(*cache);
}

/// A text of a family, of which some tokens are written: what is written at a position follows from all tokens up to
/// there and from the family.
struct Text {
  SequenceId id{};
  std::string family;
  std::vector<int32_t> tokens;
  int64_t written = 0;

  std::vector<float> numbers() const {
    std::vector<float> all;
    uint32_t hash = 2166136261U;
    const auto mix = [&](uint32_t value) { hash = (hash ^ value) * 16777619U; };
    for (const char c : family) mix(static_cast<uint32_t>(c));
    for (const int32_t token : tokens) {
      mix(static_cast<uint32_t>(token));
      all.push_back(static_cast<float>(hash % 1'000'003U));
    }
    return all;
  }
};

void expect_readable(KvCache& cache, const Text& text) {
  const std::vector<float> numbers = text.numbers();
  for (int64_t visit = 0; visit < std::ssize(cache.visits()); ++visit) {
    const VisitShape& shape = cache.visits()[static_cast<size_t>(visit)];
    if (shape.keeps_state()) {
      const float wanted = text.written == 0 ? 0 : numbers[static_cast<size_t>(text.written - 1)];
      for (int64_t i = 0; i < shape.state_floats; ++i) ASSERT_EQ(cache.state(visit, text.id)[i], wanted);
      continue;
    }
    const int64_t first = shape.window == 0 ? 0 : std::max<int64_t>(0, text.written - shape.window + 1);
    for (int64_t p = first; p < text.written; ++p) {
      const auto chunk = static_cast<size_t>(p / 64);
      const std::byte* keys = cache.key_chunks(visit, text.id, 0)[chunk];
      const std::byte* values = cache.value_chunks(visit, text.id, 0)[chunk];
      ASSERT_TRUE(keys != nullptr && values != nullptr) << "visit " << visit << ", position " << p;
      const float wanted = numbers[static_cast<size_t>(p)];
      std::vector<float> key(8);
      std::vector<float> value(8);
      kernels::load_key(shape.format, 8, keys, p % 64, key.data());
      kernels::load_value(shape.format, 8, values, p % 64, value.data());
      ASSERT_EQ(key, std::vector<float>(8, wanted)) << "visit " << visit << ", position " << p;
      ASSERT_EQ(value, std::vector<float>(8, -wanted)) << "visit " << visit << ", position " << p;
    }
  }
}

void write(KvCache& cache, Text& text, int64_t count) {
  const int64_t end = text.written + count;
  const auto reserved = cache.reserve(text.id, end);
  ASSERT_TRUE(reserved.has_value()) << reserved.error().text();
  const std::vector<float> numbers = text.numbers();
  for (int64_t position = text.written; position < end; ++position) {
    const std::vector<float> keys(8, numbers[static_cast<size_t>(position)]);
    const std::vector<float> values(8, -numbers[static_cast<size_t>(position)]);
    for (int64_t visit = 0; visit < std::ssize(cache.visits()); ++visit) {
      if (cache.visits()[static_cast<size_t>(visit)].keeps_keys())
        cache.write(visit, text.id, position, keys.data(), values.data());
    }
  }
  for (int64_t visit = 0; visit < std::ssize(cache.visits()); ++visit) {
    const int64_t size = cache.visits()[static_cast<size_t>(visit)].state_floats;
    if (size > 0) std::fill_n(cache.state(visit, text.id), size, numbers[static_cast<size_t>(end - 1)]);
  }
  text.written = end;
  cache.set_length(text.id, end);
}

/// `count` tokens, of which those from `other` on are another text's.
std::vector<int32_t> tokens(int64_t count, int64_t other = kLongest, int32_t shift = 1) {
  std::vector<int32_t> all;
  for (int64_t i = 0; i < count; ++i) all.push_back(static_cast<int32_t>(i * 37 % 101) + (i < other ? 0 : shift));
  return all;
}

Text begin(KvCache& cache, std::vector<int32_t> all, const std::string& family = "a") {
  Text text{.id = *cache.open(), .family = family, .tokens = std::move(all)};
  text.written = cache.resume(text.id, text.tokens, family);
  EXPECT_EQ(cache.length(text.id), text.written);
  expect_readable(cache, text);
  return text;
}

void write_all(KvCache& cache, Text& text) {
  while (text.written < std::ssize(text.tokens))
    write(cache, text, std::min(kStep, std::ssize(text.tokens) - text.written));
}

void end(KvCache& cache, const Text& text) {
  cache.keep(text.id, text.tokens, text.family, false);
  cache.close(text.id);
}

TEST(KeptTexts, GoOnWhereTheyAgree) {
  KvCache cache = make({});
  Text first = begin(cache, tokens(200));
  EXPECT_EQ(first.written, 0);
  write_all(cache, first);
  end(cache, first);
  EXPECT_EQ(cache.free_blocks(), cache.block_count());
  EXPECT_EQ(cache.idle_blocks(), 4);
  const auto reused = [&](std::vector<int32_t> all, const std::string& family = "a") {
    Text text = begin(cache, std::move(all), family);
    const int64_t length = text.written;
    write_all(cache, text);
    expect_readable(cache, text);
    cache.close(text.id);
    return length;
  };
  EXPECT_EQ(reused(tokens(200)), 199);  // the last token's logits are wanted
  EXPECT_EQ(reused(tokens(300)), 200);
  EXPECT_EQ(reused(tokens(300, 150)), 150);
  EXPECT_EQ(reused(tokens(300, 30)), 30);
  EXPECT_EQ(reused(tokens(300, 0)), 0);
  EXPECT_EQ(reused(tokens(300), "b"), 0);
  EXPECT_EQ(reused(tokens(200)), 199);
}

TEST(KeptTexts, ThoseWhoWriteAtOnceShareBlocks) {
  KvCache cache = make({});
  Text first = begin(cache, tokens(260));
  write_all(cache, first);
  cache.keep(first.id, first.tokens, "a", true);
  EXPECT_EQ(cache.block_count() - cache.free_blocks(), 5);
  Text second = begin(cache, tokens(260));
  EXPECT_EQ(second.written, 256);
  EXPECT_EQ(cache.block_count() - cache.free_blocks(), 5);
  // A third one that has computed the same by itself gives its own up.
  Text third{.id = *cache.open(), .family = "a", .tokens = tokens(256)};
  write_all(cache, third);
  EXPECT_EQ(cache.block_count() - cache.free_blocks(), 9);
  cache.keep(third.id, third.tokens, "a", true);
  EXPECT_EQ(cache.block_count() - cache.free_blocks(), 5);
  write_all(cache, second);
  first.tokens.resize(300, 5);
  write_all(cache, first);
  for (const Text* text : {&first, &second, &third}) expect_readable(cache, *text);
}

TEST(KeptTexts, AForkIsNoCopyUntilItWrites) {
  KvCache cache = make({});
  Text first = begin(cache, tokens(100));
  write_all(cache, first);
  Text second{.id = *cache.fork(first.id, 90), .family = "a", .tokens = tokens(120, 90), .written = 90};
  EXPECT_EQ(cache.block_count() - cache.free_blocks(), 2);
  EXPECT_EQ(cache.lacking(second.id, 91), 1);
  write_all(cache, second);
  EXPECT_EQ(cache.block_count() - cache.free_blocks(), 3);
  first.tokens = tokens(128);
  write_all(cache, first);
  expect_readable(cache, first);
  expect_readable(cache, second);
}

TEST(KeptTexts, TheOldestGiveTheirRoomUp) {
  KvCache cache = make({.tokens = 700}, 2);  // 12 blocks
  const auto once = [&](const std::string& family) {
    Text text = begin(cache, tokens(256), family);
    const int64_t reused = text.written;
    write_all(cache, text);
    end(cache, text);
    return reused;
  };
  for (const char* family : {"a", "b", "c"}) EXPECT_EQ(once(family), 0);
  EXPECT_EQ(once("a"), 255);  // a copy of the last block took one of b's
  EXPECT_EQ(cache.evicted(), 1);
  EXPECT_EQ(once("d"), 0);
  EXPECT_EQ(once("c"), 255);
  EXPECT_EQ(once("b"), 0);
  EXPECT_EQ(cache.free_blocks(), cache.block_count());
}

TEST(KeptTexts, StatesAreGoneOnFromWhereTheyWereKept) {
  KvCache cache = make({.state_floats = 33}, 2);
  Text first = begin(cache, tokens(200));
  for (const int64_t to : {64, 128}) {
    while (first.written < to) write(cache, first, std::min(kStep, to - first.written));
    if (to == 128) cache.keep(first.id, first.tokens, "a", true);
  }
  write_all(cache, first);
  end(cache, first);
  const auto reused = [&](std::vector<int32_t> all) {
    Text text = begin(cache, std::move(all));
    cache.close(text.id);
    return text.written;
  };
  EXPECT_EQ(reused(tokens(300)), 200);
  EXPECT_EQ(reused(tokens(300, 180)), 128);
  EXPECT_EQ(reused(tokens(200)), 128);
  EXPECT_EQ(reused(tokens(128)), 0);
}

TEST(KeptTexts, WindowsAreGoneOnFromWhereTheyAreWhole) {
  KvCache cache = make({.windows = {0, 100}}, 2);
  Text first = begin(cache, tokens(600));
  write_all(cache, first);
  end(cache, first);
  const auto reused = [&](std::vector<int32_t> all) {
    Text text = begin(cache, std::move(all));
    cache.close(text.id);
    return text.written;
  };
  EXPECT_EQ(reused(tokens(650)), 600);
  EXPECT_EQ(reused(tokens(650, 590)), 590);
  EXPECT_EQ(reused(tokens(650, 300)), 0);  // of its last 99 tokens nothing is left
}

/// Any order of use, with texts that begin alike in many places.
class Random {
 public:
  Random(uint32_t seed, const Shape& shape) : draw_(seed), cache_(make(shape)) {}

  void act() {
    const int64_t what = pick(10);
    if (open_.empty() || what == 0) {
      if (auto id = cache_.open()) start(*id);
      return;
    }
    const auto at = static_cast<size_t>(pick(std::ssize(open_)));
    Text& text = open_[at];
    const int64_t count = std::min(1 + pick(kStep), std::ssize(text.tokens) - text.written);
    if (what < 6) {
      if (count > 0 && cache_.lacking(text.id, text.written + count) <= cache_.free_blocks())
        write(cache_, text, count);
    } else if (what == 6) {
      cache_.keep(text.id, text.tokens, text.family, pick(2) == 0);
    } else if (what == 7) {
      text.written = cache_.truncate(text.id, std::max<int64_t>(0, text.written - pick(100)));
    } else if (what == 8) {
      fork(text);
    } else {
      if (pick(4) > 0) cache_.keep(text.id, text.tokens, text.family, false);
      cache_.close(text.id);
      std::swap(text, open_.back());
      open_.pop_back();
    }
  }

  void expect_all() {
    for (const Text& text : open_) {
      ASSERT_EQ(cache_.length(text.id), text.written);
      expect_readable(cache_, text);
    }
  }
  void close_all() {
    for (const Text& text : open_) cache_.close(text.id);
    EXPECT_EQ(cache_.free_blocks(), cache_.block_count());
  }
  int64_t reused() const { return reused_; }
  int64_t evicted() const { return cache_.evicted(); }

 private:
  int64_t pick(int64_t count) { return static_cast<int64_t>(draw_() % static_cast<uint64_t>(count)); }

  void start(SequenceId id) {
    Text text{.id = id, .family = pick(3) == 0 ? "b" : "a", .tokens = {}};
    const int64_t length = 1 + pick(kLongest);
    text.tokens = tokens(length, pick(2) == 0 ? kLongest : pick(8) * 40, static_cast<int32_t>(1 + pick(2)));
    if (pick(4) > 0) text.written = cache_.resume(id, text.tokens, text.family);
    reused_ += text.written;
    open_.push_back(std::move(text));
  }

  void fork(const Text& text) {
    const auto copy = cache_.fork(text.id, std::max<int64_t>(0, text.written - pick(100)));
    if (!copy) return;
    Text other{.id = *copy, .family = text.family, .tokens = text.tokens, .written = cache_.length(*copy)};
    for (size_t i = static_cast<size_t>(other.written); i < other.tokens.size(); ++i) other.tokens[i] += 3;
    open_.push_back(std::move(other));
  }

  std::mt19937 draw_;
  KvCache cache_;
  std::vector<Text> open_;
  int64_t reused_ = 0;
};

TEST(KeptTexts, AnyOrderOfUseFindsWhatWasWritten) {
  for (const Shape& shape :
       {Shape{}, Shape{.windows = {0, 100, 7}}, Shape{.windows = {100}, .tokens = 700}, Shape{.state_floats = 5},
        Shape{.windows = {0, 70}, .state_floats = 5, .tokens = 900}, Shape{.windows = {}, .state_floats = 5}}) {
    int64_t reused = 0;
    int64_t evicted = 0;
    for (uint32_t seed = 0; seed < 12; ++seed) {
      Random random(seed, shape);
      for (int i = 0; i < 300; ++i) {
        random.act();
        if (i % 10 == 9) random.expect_all();
        if (HasFatalFailure()) FAIL() << "seed " << seed << ", action " << i;
      }
      random.close_all();
      reused += random.reused();
      evicted += random.evicted();
    }
    EXPECT_GT(reused, 1000);
    EXPECT_GT(evicted, 0);
  }
}

}  // namespace
}  // namespace lamina::cache
