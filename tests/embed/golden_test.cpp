// Tiny random sentence encoders as sentence-transformers saves them, against the vectors and scores that it makes
// (tools/make_embed_golden.py): tokenizer, prompts, cutting, pooling, dense layers, normalization, a decoder, a
// reranker.
#include <cmath>
#include <nlohmann/json.hpp>

#include "embed/embedder.h"
#include "embed/encode.h"
#include "embed/opened_model.h"
#include "embed/rerank.h"
#include "models/vocabulary.h"

namespace lamina::embed {
namespace {

constexpr double kWorst = 2e-5;  // of numbers of about 1

nlohmann::json expected(const std::string& name) {
  std::ifstream file(kGolden / "embed" / name / "expected.json");
  return nlohmann::json::parse(file);
}

double worst_difference(const std::vector<float>& found, const std::vector<double>& wanted) {
  if (found.size() != wanted.size()) return INFINITY;
  double worst = 0;
  for (size_t i = 0; i < found.size(); ++i)
    worst = std::max(worst, std::abs(static_cast<double>(found[i]) - wanted[i]));
  return worst;
}

/// The vectors of texts, all in one call, as `lamina embed` makes them.
core::Result<std::vector<std::vector<float>>> vectors_of(OpenedModel& opened, const nlohmann::json& row) {
  LAMINA_ASSIGN(const Settings settings, read_settings(*opened.model));
  LAMINA_ASSIGN(const text::Tokenizer tokenizer, models::load_tokenizer(opened.model->files()));
  LAMINA_ASSIGN(const std::string prompt, find_prompt(settings, row["prompt_name"]));
  EmbedOptions options{
      .pooling = settings.pooling, .normalize = settings.normalize, .dimensions = row["dimensions"], .skipped = 0};
  LAMINA_CHECK_OK(
      check_dimensions(settings, embedding_size(*opened.model, settings), options.dimensions, /*force=*/false));
  if (row["pooling"] != "") {
    LAMINA_ASSIGN(options.pooling, find_pooling(row["pooling"].get<std::string>()));
  }
  if (!settings.pools_prompt) {
    LAMINA_ASSIGN(options.skipped, prompt_rows(tokenizer, prompt));
  }
  std::vector<Input> inputs;
  for (const std::string text : row["texts"]) {
    LAMINA_ASSIGN(Input input, encode_text(tokenizer, prepare_text(settings, prompt, text),
                                           {.index = inputs.size(), .limit = settings.limit, .truncate = true}));
    inputs.push_back(std::move(input));
  }
  return embed(*opened.runner, settings, options, inputs);
}

class EmbedGolden : public testing::TestWithParam<std::string> {};
TEST_P(EmbedGolden, VectorsAreThoseOfTheReference) {
  OpenedModel opened(kGolden / "embed" / GetParam(), GetParam() == "decoder" ? 48 : 24, 4, 64);
  for (const nlohmann::json& row : expected(GetParam())) {
    SCOPED_TRACE(row["prompt_name"].dump() + row["pooling"].dump() + row["dimensions"].dump());
    const auto found = vectors_of(opened, row);
    ASSERT_TRUE(found) << found.error().text();
    ASSERT_EQ(found->size(), row["vectors"].size());
    for (size_t i = 0; i < found->size(); ++i)
      EXPECT_LT(worst_difference((*found)[i], row["vectors"][i]), kWorst) << row["texts"][i];
  }
}
INSTANTIATE_TEST_SUITE_P(Cases, EmbedGolden, testing::Values("dense", "pooling", "decoder"),
                         [](const auto& info) { return info.param; });

TEST(RerankGolden, ScoresAreThoseOfTheReference) {
  OpenedModel opened(kGolden / "embed/rerank", 24, 4, 64);
  const auto tokenizer = models::load_tokenizer(opened.model->files()).value();
  const auto pair = load_pair_template(*opened.model, tokenizer).value();
  const nlohmann::json row = expected("rerank")[0];
  std::vector<Input> inputs;
  for (const auto& texts : row["pairs"]) {
    inputs.push_back(encode_pair(tokenizer, pair, texts[0], texts[1],
                                 {.index = inputs.size(), .limit = row["limit"], .truncate = true})
                         .value());
  }
  EXPECT_LT(worst_difference(rerank(*opened.runner, inputs).value(), row["scores"]), kWorst);
}

TEST(EncodeText, RefusesOrCutsWhatIsTooLong) {
  const auto tokenizer = models::load_tokenizer(kGolden / "embed/dense").value();
  const std::string text = "the cat sat on the mat";
  const auto whole = encode_text(tokenizer, text, {.index = 0, .limit = 8, .truncate = false}).value();
  ASSERT_EQ(whole.ids.size(), 8U);
  const auto refused = encode_text(tokenizer, text, {.index = 3, .limit = 7, .truncate = false});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, core::ErrorCode::kLimit);
  EXPECT_EQ(refused.error().text(), "text 3: 8 tokens; at most 7 expected, --truncate cuts");
  for (const size_t limit : {7U, 3U, 2U}) {
    std::vector<int32_t> wanted(whole.ids.begin(), whole.ids.begin() + static_cast<std::ptrdiff_t>(limit) - 1);
    wanted.push_back(whole.ids.back());
    EXPECT_EQ(
        encode_text(tokenizer, text, {.index = 0, .limit = static_cast<int64_t>(limit), .truncate = true}).value().ids,
        wanted);
  }
  EXPECT_EQ(encode_text(tokenizer, text, {.index = 0, .limit = 1, .truncate = true}).error().message,
            "2 special tokens do not fit into 1");
  EXPECT_EQ(encode_text(tokenizer, "", {.index = 0, .limit = 8, .truncate = false}).value().ids.size(), 2U);
}

TEST(EncodeText, LowersTextsWhereTheModelWantsIt) {
  Settings settings;
  EXPECT_EQ(prepare_text(settings, "Q: ", "ÄB"), "Q: ÄB");
  settings.lower_case = true;
  EXPECT_EQ(prepare_text(settings, "Q: ", "ÄB\xff"), "q: äb\xef\xbf\xbd");
}

TEST(EncodeText, APromptsClosingTokenIsNotPartOfIt) {
  const auto words = models::load_tokenizer(kGolden / "embed/dense").value();
  EXPECT_EQ(prompt_rows(words, "query: ").value(), 3);  // [CLS] query :
  EXPECT_EQ(prompt_rows(words, "").value(), 0);
}

}  // namespace
}  // namespace lamina::embed
