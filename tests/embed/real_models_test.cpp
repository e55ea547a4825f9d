// Real encoders of the store and the trained reranker, against values of the reference library. Larger comparisons:
// tools/parity_embed.py.
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "embed/embedder.h"
#include "embed/encode.h"
#include "embed/opened_model.h"
#include "embed/rerank.h"
#include "models/vocabulary.h"
#include "run/golden_files.h"
#include "support/trained_models.h"

namespace lamina::embed {
namespace {

using Path = std::filesystem::path;

std::vector<std::vector<float>> vectors_of(const OpenedModel& opened, const std::vector<std::string>& texts) {
  const Settings settings = read_settings(*opened.model).value();
  const auto tokenizer = models::load_tokenizer(opened.model->files()).value();
  std::vector<Input> inputs;
  for (const std::string& text : texts)
    inputs.push_back(encode_text(tokenizer, text, {.index = inputs.size(), .limit = settings.limit}).value());
  return embed(*opened.runner, settings, {.pooling = settings.pooling, .normalize = settings.normalize}, inputs)
      .value();
}

double cosine(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

/// Logits over the vocabulary, a row for each token.
std::vector<std::vector<float>> logits_of(const OpenedModel& opened, const std::vector<int32_t>& ids) {
  const auto sequence = opened.runner->open().value();
  std::vector<run::BatchRow> rows;
  for (const int32_t id : ids) rows.push_back({.token = id, .sequence = sequence, .wants_logits = true});
  const auto outputs = static_cast<size_t>(opened.model->head().outputs());
  std::vector<float> all(ids.size() * outputs);
  if (const auto status = opened.runner->step(rows, all); !status) throw std::runtime_error(status.error().text());
  std::vector<std::vector<float>> split;
  for (size_t i = 0; i < ids.size(); ++i)
    split.emplace_back(all.begin() + static_cast<std::ptrdiff_t>(i * outputs),
                       all.begin() + static_cast<std::ptrdiff_t>((i + 1) * outputs));
  return split;
}

TEST(RealEmbed, SentencesOfMiniLmLieAsTheReferenceSays) {
  const Path path = run::stored_model("minilm-l6");
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "needs the model minilm-l6 of the store";
  const OpenedModel opened(path, 256, 4, 256);
  const Settings settings = read_settings(*opened.model).value();
  EXPECT_EQ(settings.limit, 256);
  EXPECT_EQ(settings.pooling, Pooling::kMean);
  EXPECT_TRUE(settings.normalize);
  const auto vectors = vectors_of(
      opened, {"A man is eating food.", "A man is eating a piece of bread.", "The girl is carrying a baby."});
  EXPECT_NEAR(vectors[0][0], 0.03324, 1e-5);
  EXPECT_NEAR(vectors[0][1], 0.00441, 1e-5);
  EXPECT_NEAR(vectors[0][2], -0.00628, 1e-5);
  EXPECT_NEAR(cosine(vectors[0], vectors[1]), 0.7553, 1e-4);
  EXPECT_NEAR(cosine(vectors[0], vectors[2]), -0.1050, 1e-4);
}

TEST(RealEmbed, PassagesOfE5LieAsTheReferenceSays) {
  const Path path = run::stored_model("e5-small-multi");
  if (!std::filesystem::exists(path / "model.safetensors"))
    GTEST_SKIP() << "needs the model e5-small-multi of the store";
  const OpenedModel opened(path, 512, 4, 512);
  const auto tokenizer = models::load_tokenizer(opened.model->files()).value();
  const std::string query = "query: how much protein should a female eat";
  EXPECT_EQ(encode_text(tokenizer, query, {.index = 0, .limit = 512}).value().ids,
            (std::vector<int32_t>{0, 41, 1294, 12, 3642, 5045, 21308, 5608, 10, 117776, 73203, 2}));
  const auto vectors = vectors_of(
      opened,
      {query, "passage: As a general guideline, the average requirement of protein for women is 46 grams per day.",
       "passage: Die Hauptstadt von Frankreich ist Paris."});
  EXPECT_NEAR(cosine(vectors[0], vectors[1]), 0.9392, 1e-4);
  EXPECT_NEAR(cosine(vectors[0], vectors[2]), 0.7395, 1e-4);
}

TEST(RealEmbed, SpladeExpandsAQueryIntoTheWordsOfTheReference) {
  const Path path = run::stored_model("splade-tiny");
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "needs the model splade-tiny of the store";
  const OpenedModel opened(path, 128, 1, 128);
  const auto tokenizer = models::load_tokenizer(opened.model->files()).value();
  const auto ids = tokenizer.encode("what is the capital of france").value();
  std::map<std::string, double> words;
  for (const auto& row : logits_of(opened, ids)) {
    for (size_t token = 0; token < row.size(); ++token) {
      if (!(row[token] > 0)) continue;
      double& weight = words[tokenizer.token(static_cast<int32_t>(token))];
      weight = std::max(weight, std::log1p(static_cast<double>(row[token])));
    }
  }
  EXPECT_EQ(words.size(), 15U);
  EXPECT_NEAR(words["capital"], 2.795, 1e-3);
  EXPECT_NEAR(words["france"], 2.359, 1e-3);
  EXPECT_NEAR(words["french"], 1.844, 1e-3);
}

TEST(RealEmbed, AlbertFillsAReactionAsTheReferenceDoes) {
  const Path path = run::stored_model("albert-rxn");
  if (!std::filesystem::exists(path / "model.safetensors")) GTEST_SKIP() << "needs the model albert-rxn of the store";
  std::map<std::string, int32_t> vocabulary;
  std::ifstream file(path / "vocab.txt");
  for (std::string line; std::getline(file, line);) vocabulary.emplace(line, static_cast<int32_t>(vocabulary.size()));
  std::istringstream words("[CLS] C C ( = O ) O . C C O >> C C ( = [MASK] ) O C C [SEP]");
  std::vector<int32_t> ids;
  for (std::string word; words >> word;) ids.push_back(vocabulary.at(word));
  const auto masked = static_cast<size_t>(std::ranges::find(ids, vocabulary.at("[MASK]")) - ids.begin());
  const OpenedModel opened(path, 512, 1, 512);
  EXPECT_EQ(opened.model->route().size(), 12U);
  const std::vector<float> row = logits_of(opened, ids)[masked];
  const double top = static_cast<double>(*std::ranges::max_element(row));
  double sum = 0;
  for (const float logit : row) sum += std::exp(static_cast<double>(logit) - top);
  const double oxygen = static_cast<double>(row[static_cast<size_t>(vocabulary.at("O"))]);
  EXPECT_NEAR(std::exp(oxygen - top) / sum, 0.9997, 1e-4);
}

TEST(RealRerank, ScoresOfTheTrainedRerankerAreThoseOfTheReference) {
  const Path path = trained_models() / "rerank";
  if (!std::filesystem::exists(path))
    GTEST_SKIP() << "needs rerank in " << trained_models() << " ($LAMINA_TEST_MODELS)";
  const OpenedModel opened(path, 512, 8, 512);
  const auto tokenizer = models::load_tokenizer(opened.model->files()).value();
  const auto pair = load_pair_template(*opened.model, tokenizer).value();
  std::vector<nlohmann::json> items;
  std::ifstream lines(trained_models() / "eval/rerank.jsonl");
  for (std::string line; std::getline(lines, line);) items.push_back(nlohmann::json::parse(line));
  std::ifstream golden(kGolden / "embed/trained_rerank.json");
  for (const nlohmann::json& row : nlohmann::json::parse(golden)) {
    const nlohmann::json& item = items.at(row["line"].get<size_t>());
    std::vector<Input> inputs;
    for (const std::string passage : item["passages"]) {
      inputs.push_back(
          encode_pair(tokenizer, pair, item["query"], passage, {.index = inputs.size(), .limit = 512, .truncate = true})
              .value());
    }
    const auto scores = rerank(*opened.runner, inputs).value();
    for (size_t i = 0; i < scores.size(); ++i) EXPECT_NEAR(scores[i], row["scores"][i].get<float>(), 1e-3) << i;
  }
}

}  // namespace
}  // namespace lamina::embed
