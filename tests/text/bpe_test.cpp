#include "text/bpe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "text/score_merges.h"
#include "text/tokenizer.h"
#include "text/word_cache.h"

namespace lamina::text {
namespace {

/// Tokens over a small alphabet with few different scores, so that many pairs are equal but for their lengths and ids.
TokenizerData random_vocabulary(std::mt19937& random) {
  const std::vector<std::string> letters = {"a", "b", "\u2581", "\u00E9"};
  std::set<std::string> texts(letters.begin(), letters.end());
  while (texts.size() < 60) {
    std::string text;
    for (size_t left = 2 + random() % 4; left > 0; --left) text += letters[random() % letters.size()];
    texts.insert(text);
  }
  TokenizerData data;
  data.model = "llama";
  data.add_bos = false;
  data.add_space_prefix = false;
  data.tokens.assign(texts.begin(), texts.end());
  std::shuffle(data.tokens.begin(), data.tokens.end(), random);
  data.tokens.insert(data.tokens.begin(), "<unk>");
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    data.scores.push_back(-static_cast<float>(random() % 4));
    data.types.push_back(id == 0 ? TokenType::kUnknown : TokenType::kNormal);
  }
  data.unknown = 0;
  return data;
}

std::string random_text(std::mt19937& random) {
  const std::vector<std::string> letters = {"a", "a", "b", "b", "\u2581", "\u00E9", "?"};
  std::string text;
  for (size_t left = 1 + random() % 120; left > 0; --left) text += letters[random() % letters.size()];
  return text;
}

class Bpe : public ::testing::TestWithParam<bool> {};

TEST_P(Bpe, JoinsByScoresInTheOrderOfTheMergesMadeOfThem) {
  std::mt19937 random(7);
  for (int round = 0; round < 20; ++round) {
    TokenizerData data = random_vocabulary(random);
    if (!GetParam()) data.unknown = -1;
    std::vector<std::pair<std::string, int32_t>> entries;
    for (size_t id = 1; id < data.tokens.size(); ++id) entries.emplace_back(data.tokens[id], static_cast<int32_t>(id));
    BpeOptions options;
    options.fuse_unknown = true;
    options.unknown = data.unknown;
    const auto merges = merges_from_scores(data);
    ASSERT_TRUE(merges);
    const auto reference = BpeModel::make(entries, *merges, options);
    const auto tokenizer = Tokenizer::from_data(data);
    ASSERT_TRUE(reference && tokenizer);
    for (int i = 0; i < 200; ++i) {
      const std::string text = random_text(random);
      std::vector<int32_t> wanted;
      ASSERT_TRUE((*reference)->encode(text, false, *WordCache::Lease(), wanted));
      EXPECT_EQ(*tokenizer->encode(text), wanted) << text;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(UnknownCharacters, Bpe, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "BecomeAToken" : "Vanish"; });

/// What is kept of words met before must not pass from one model to another.
TEST(Bpe, ModelsDoNotShareWhatTheyRemember) {
  const std::vector<std::pair<std::string, int32_t>> entries = {{"a", 0}, {"b", 1}, {"ab", 2}};
  const auto joining = BpeModel::make(entries, {{0, 1, 2}}, {});
  const auto apart = BpeModel::make(entries, {}, {});
  const WordCache::Lease cache;
  for (int round = 0; round < 2; ++round) {
    std::vector<int32_t> ids;
    ASSERT_TRUE((*joining)->encode("abab", false, *cache, ids));
    EXPECT_EQ(ids, (std::vector<int32_t>{2, 2}));
    ids.clear();
    ASSERT_TRUE((*apart)->encode("abab", false, *cache, ids));
    EXPECT_EQ(ids, (std::vector<int32_t>{0, 1, 0, 1}));
  }
}

}  // namespace
}  // namespace lamina::text
