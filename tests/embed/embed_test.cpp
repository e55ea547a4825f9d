// Pooling by hand-made numbers, and batches against texts alone.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "embed/embedder.h"
#include "embed/encode.h"
#include "embed/opened_model.h"
#include "embed/rerank.h"
#include "text/pair_template.h"

namespace lamina::embed {
namespace {

const std::filesystem::path kEncoders = kGolden / "encoders";

std::vector<float> pooled(Pooling pooling, int64_t skipped = 0) {
  const std::vector<float> rows{1, -2, 3, 4, 8, 1};
  std::vector<float> out(2);
  pool(pooling, rows.data(), 3, 2, skipped, out.data());
  return out;
}

TEST(Pooling, FollowsItsDefinition) {
  EXPECT_EQ(pooled(Pooling::kCls), (std::vector<float>{1, -2}));
  EXPECT_EQ(pooled(Pooling::kLast), (std::vector<float>{8, 1}));
  EXPECT_EQ(pooled(Pooling::kMean), (std::vector<float>{4, 1}));
  EXPECT_EQ(pooled(Pooling::kMax), (std::vector<float>{8, 4}));
  EXPECT_FLOAT_EQ(pooled(Pooling::kMeanSqrt)[0], 12 / std::sqrt(3.0F));
  EXPECT_FLOAT_EQ(pooled(Pooling::kWeightedMean)[0], (1 * 1 + 3 * 2 + 8 * 3) / 6.0F);
  EXPECT_EQ(pooled(Pooling::kMean, 1), (std::vector<float>{5.5F, 2.5F}));
  EXPECT_EQ(pooled(Pooling::kMean, 3), pooled(Pooling::kMean));
}

TEST(Pooling, ANormalizedVectorHasLengthOneAndZeroStays) {
  std::vector<float> vector{3, 4};
  normalize(vector);
  EXPECT_FLOAT_EQ(vector[0], 0.6F);
  std::vector<float> zero{0, 0};
  normalize(zero);
  EXPECT_EQ(zero, (std::vector<float>{0, 0}));
}

TEST(Rerank, CutsTheLongerTextFirst) {
  const auto cut = [](int64_t a, int64_t b, int64_t room) {
    const PairLengths kept = cut_pair(a, b, room);
    return std::pair(kept.first, kept.second);
  };
  EXPECT_EQ(cut(3, 4, 7), std::pair(int64_t{3}, int64_t{4}));
  EXPECT_EQ(cut(3, 9, 7), std::pair(int64_t{3}, int64_t{4}));
  EXPECT_EQ(cut(9, 2, 7), std::pair(int64_t{5}, int64_t{2}));
  EXPECT_EQ(cut(9, 9, 7), std::pair(int64_t{3}, int64_t{4}));
  EXPECT_EQ(cut(9, 8, 7), std::pair(int64_t{4}, int64_t{3}));
}

TEST(PairTemplate, ReadsTheThreeForms) {
  const auto fill = [](const std::string& processor) {
    const auto pair = text::PairTemplate::from_json(R"({"post_processor":)" + processor + "}");
    return pair ? pair->fill(std::vector<int32_t>{5, 6}, std::vector<int32_t>{7}) : text::PairTokens{};
  };
  const auto fixed = fill(R"({"type":"BertProcessing","cls":["c",1],"sep":["s",2]})");
  EXPECT_EQ(fixed.ids, (std::vector<int32_t>{1, 5, 6, 2, 7, 2}));
  EXPECT_EQ(fixed.types, (std::vector<int32_t>{0, 0, 0, 0, 1, 1}));
  EXPECT_EQ(fill(R"({"type":"RobertaProcessing","cls":["c",1],"sep":["s",2]})").ids,
            (std::vector<int32_t>{1, 5, 6, 2, 2, 7, 2}));
  const auto free = fill(
      R"({"type":"TemplateProcessing","single":[],"pair":[{"Sequence":{"id":"B","type_id":1}},{"SpecialToken":{"id":"x","type_id":1}},
          {"Sequence":{"id":"A","type_id":0}}],"special_tokens":{"x":{"ids":[9,8]}}})");
  EXPECT_EQ(free.ids, (std::vector<int32_t>{7, 9, 8, 5, 6}));
  EXPECT_EQ(free.types, (std::vector<int32_t>{1, 1, 1, 0, 0}));
  for (const char* broken : {"null", R"({"type":"ByteLevel"})", R"({"type":"TemplateProcessing","pair":[]})",
                             R"({"type":"BertProcessing","cls":[1],"sep":["s",2]})"}) {
    EXPECT_FALSE(text::PairTemplate::from_json(R"({"post_processor":)" + std::string(broken) + "}")) << broken;
  }
}

// Of one vocabulary, what metadata call a WordPiece model has a known pair, and what they call Unigram has none:
// RoBERTa's pair, CLS A SEP SEP B SEP, is not written into such files.
TEST(PairTemplate, IsKnownByNamesForWordPieceOnly) {
  const auto tokenizer = [](const char* model) {
    text::TokenizerData data;
    data.model = model;
    data.tokens = {"[UNK]", "[CLS]", "[SEP]", "\u2581a"};
    data.types.assign(data.tokens.size(), text::TokenType::kNormal);
    data.scores = {0, 0, 0, -1};
    data.unknown = 0;
    data.cls = 1;
    data.separator = 2;
    data.eos = 2;
    return text::Tokenizer::from_data(std::move(data)).value();
  };
  const auto pair = text::PairTemplate::from_names(tokenizer("bert"));
  ASSERT_TRUE(pair);
  const text::PairTokens filled = pair->fill(std::vector<int32_t>{5, 6}, std::vector<int32_t>{7});
  EXPECT_EQ(filled.ids, (std::vector<int32_t>{1, 5, 6, 2, 7, 2}));
  EXPECT_EQ(filled.types, (std::vector<int32_t>{0, 0, 0, 0, 1, 1}));
  const auto unknown = text::PairTemplate::from_names(tokenizer("t5"));
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, core::ErrorCode::kUnsupported);
  EXPECT_EQ(unknown.error().message,
            "the file does not say which tokens go around a pair of texts; a WordPiece tokenizer, or a folder with "
            "tokenizer.json, expected");
}

std::vector<Input> inputs_of(const std::vector<size_t>& lengths) {
  std::vector<Input> inputs;
  for (const size_t length : lengths) {
    Input input;
    for (size_t i = 0; i < length; ++i) input.ids.push_back(static_cast<int32_t>((i * 7 + length * 3) % 80));
    inputs.push_back(std::move(input));
  }
  return inputs;
}

TEST(Embed, VectorsComeInInputOrderAndDoNotDependOnTheBatch) {
  const auto inputs = inputs_of({3, 24, 1, 9, 9, 17, 2, 24});
  OpenedModel alone(kEncoders / "bert", 24, 1, 24);
  OpenedModel batched(kEncoders / "bert", 24, 4, 40);
  const Settings settings = read_settings(*alone.model).value();
  EXPECT_EQ(settings.limit, 24);
  for (const Pooling pooling : {Pooling::kMean, Pooling::kCls, Pooling::kMax}) {
    const EmbedOptions options{.pooling = pooling};
    const auto together = embed(*batched.runner, settings, options, inputs).value();
    for (size_t i = 0; i < inputs.size(); ++i) {
      EXPECT_EQ(embed(*alone.runner, settings, options, std::span(inputs).subspan(i, 1)).value()[0], together[i]) << i;
    }
  }
}

TEST(Embed, RefusesWhatItCannotDo) {
  OpenedModel opened(kEncoders / "bert", 24, 2, 24);
  const Settings settings = read_settings(*opened.model).value();
  EXPECT_EQ(embed(*opened.runner, settings, {}, inputs_of({3, 25})).error().message,
            "text 1 has 25 tokens; at most 24 expected");
  EXPECT_EQ(embed(*opened.runner, settings, {}, inputs_of({0})).error().message, "text 0 has no tokens");
  EXPECT_EQ(embed(*opened.runner, settings, {.dimensions = 33}, inputs_of({3})).error().message,
            "33; the vectors have 32");
  EXPECT_EQ(rerank(*opened.runner, inputs_of({3})).error().code, core::ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace lamina::embed
