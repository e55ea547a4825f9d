// The routes that embed and score, and several models in one process.
#include <cmath>
#include <cstring>

#include "embed/encode.h"
#include "serve/served.h"
#include "text/base64.h"

namespace lamina::serve {
namespace {

const ModelOptions kEmbedder{.name = "embedder", .folder = "embed/dense", .context = 24, .max_rows = 64};
const ModelOptions kRanker{.name = "ranker", .folder = "embed/rerank", .context = 20, .max_rows = 64};

class Vectors : public testing::Test {
 protected:
  core::ThreadPool pool_{1};  // not the one that the server computes on
  TestServer server_{std::vector<ModelOptions>{{}, kEmbedder, kRanker}};

  /// What the library makes of a text by itself.
  std::vector<float> vector_of(const std::string& text) {
    const auto own = open_model(pool_, kEmbedder);
    const embed::Settings& settings = *own->settings;
    const std::string prompt = embed::find_prompt(settings, "").value();
    const std::vector<embed::Input> inputs{
        embed::encode_text(own->tokenizer, embed::prepare_text(settings, prompt, text), {.limit = 24}).value()};
    const embed::EmbedOptions options{
        .pooling = settings.pooling, .normalize = settings.normalize, .dimensions = settings.own_dimensions};
    return embed::embed(*own->runner, settings, options, inputs).value().front();
  }
};

TEST_F(Vectors, EmbedsOneTextOrMany) {
  const Json one = server_.ask("/v1/embeddings", {{"model", "embedder"}, {"input", "the cat sat"}});
  EXPECT_EQ(one["object"], "list");
  EXPECT_EQ(one["data"][0]["embedding"].get<std::vector<float>>(), vector_of("the cat sat"));
  Json texts = Json::array();
  for (int i = 0; i < 40; ++i) texts.push_back(std::string(static_cast<size_t>(i % 5), 'a') + " the cat sat");
  const Json many = server_.ask("/v1/embeddings", {{"model", "embedder"}, {"input", texts}});
  ASSERT_EQ(many["data"].size(), 40U);
  for (size_t i = 0; i < 40; ++i) {
    EXPECT_EQ(many["data"][i]["index"], i);
    if (i % 5 == 0) {
      EXPECT_EQ(many["data"][i]["embedding"], many["data"][0]["embedding"]);
    }
  }
  EXPECT_EQ(many["data"][1]["embedding"].get<std::vector<float>>(), vector_of("a the cat sat"));
}

TEST_F(Vectors, Base64HoldsTheSameNumbers) {
  const Json plain = server_.ask("/v1/embeddings", {{"model", "embedder"}, {"input", "a mat"}});
  const Json packed =
      server_.ask("/v1/embeddings", {{"model", "embedder"}, {"input", "a mat"}, {"encoding_format", "base64"}});
  const auto bytes = text::decode_base64(packed["data"][0]["embedding"].get<std::string>());
  ASSERT_TRUE(bytes);
  std::vector<float> numbers(bytes->size() / 4);
  std::memcpy(numbers.data(), bytes->data(), bytes->size());
  EXPECT_EQ(numbers, plain["data"][0]["embedding"].get<std::vector<float>>());
}

TEST_F(Vectors, TokensAreTakenAsTheyAre) {
  // A text goes behind the model's own prompt, tokens do not.
  const std::string whole = embed::find_prompt(*server_.model(1).settings, "").value() + "the cat sat";
  const Json tokens =
      server_.ask("/tokenize", {{"model", "embedder"}, {"content", whole}, {"add_special", true}})["tokens"];
  const Json text = server_.ask("/v1/embeddings", {{"model", "embedder"}, {"input", "the cat sat"}});
  for (const Json& input : {tokens, Json::array({tokens})}) {
    const Json given = server_.ask("/v1/embeddings", {{"model", "embedder"}, {"input", input}});
    EXPECT_EQ(given["data"][0]["embedding"], text["data"][0]["embedding"]);
    EXPECT_EQ(given["usage"], text["usage"]);
  }
}

TEST_F(Vectors, RefusesWhatItCannotDo) {
  const auto refused = [&](Json body) {
    body["model"] = "embedder";
    return server_.refused(400, "/v1/embeddings", body);
  };
  std::string words;
  for (int i = 0; i < 40; ++i) words += "cat ";
  Json too_long = refused({{"input", words}});
  EXPECT_EQ(too_long["code"], "context_length_exceeded");
  EXPECT_NE(too_long["message"].get<std::string>().find("24"), std::string::npos);
  EXPECT_EQ(refused({{"input", std::vector<int>(25, 5)}})["code"], "context_length_exceeded");
  EXPECT_EQ(refused({{"input", "x"}, {"dimensions", 1 << 19}})["param"], "dimensions");
  EXPECT_EQ(refused({{"input", "x"}, {"encoding_format", "int4"}})["param"], "encoding_format");
  EXPECT_EQ(refused({{"input", "x"}, {"prompt_name", "none such"}})["param"], "prompt_name");
  EXPECT_EQ(refused({{"input", Json::array()}})["param"], "input");
  EXPECT_EQ(refused({{"input", Json::array({99999})}})["param"], "input");
  EXPECT_EQ(server_.refused(400, "/v1/embeddings", {{"model", "tiny"}, {"input", "x"}})["param"], "model");
  EXPECT_EQ(server_.refused(
                400, "/v1/chat/completions",
                {{"model", "ranker"}, {"messages", Json::array({{{"role", "user"}, {"content", "x"}}})}})["param"],
            "model");
}

TEST_F(Vectors, RerankOrdersAsTheReferenceScores) {
  std::ifstream file(source_dir() / "tests/golden/embed/rerank/expected.json");
  const Json expected = Json::parse(file);
  const Json& set = expected[0];
  Json documents = Json::array();
  std::vector<double> wanted;
  for (size_t i = 0; i < set["pairs"].size(); ++i) {
    if (set["pairs"][i][0] != "which cat?") continue;
    documents.push_back(set["pairs"][i][1]);
    wanted.push_back(set["scores"][i]);
  }
  ASSERT_GT(documents.size(), 3U);
  Json body{
      {"model", "ranker"}, {"query", "which cat?"}, {"documents", documents}, {"truncate", true}, {"raw_scores", true}};
  const Json results = server_.ask("/v1/rerank", body)["results"];
  ASSERT_EQ(results.size(), documents.size());
  for (size_t i = 0; i < results.size(); ++i) {
    const size_t index = results[i]["index"];
    EXPECT_NEAR(results[i]["relevance_score"].get<double>(), wanted[index], 1e-4 * (1 + std::abs(wanted[index])));
    if (i > 0) {
      EXPECT_LE(results[i]["relevance_score"], results[i - 1]["relevance_score"]);
    }
  }
  body.erase("raw_scores");
  body["top_n"] = 2;
  body["return_documents"] = true;
  const Json best = server_.ask("/rerank", body)["results"];
  ASSERT_EQ(best.size(), 2U);
  EXPECT_EQ(best[0]["index"], results[0]["index"]);
  EXPECT_EQ(best[0]["document"]["text"], documents[best[0]["index"].get<size_t>()]);
  const double raw = results[0]["relevance_score"];
  EXPECT_NEAR(best[0]["relevance_score"].get<double>(), 1 / (1 + std::exp(-raw)), 1e-12);
  const Json scores = server_.ask(
      "/v1/score", {{"model", "ranker"}, {"text_1", "which cat?"}, {"text_2", documents}, {"truncate", true}})["data"];
  EXPECT_EQ(scores[best[0]["index"].get<size_t>()]["score"], best[0]["relevance_score"]);
}

TEST_F(Vectors, ScoresOfAnEmbedderAreCosines) {
  const Json data = server_.ask(
      "/v1/score",
      {{"model", "embedder"}, {"text_1", "the cat sat"}, {"text_2", Json::array({"the cat sat", "a mat"})}})["data"];
  EXPECT_NEAR(data[0]["score"].get<double>(), 1, 1e-6);
  EXPECT_LT(data[1]["score"].get<double>(), 1);
  EXPECT_EQ(server_.refused(400, "/v1/score",
                            {{"model", "embedder"},
                             {"text_1", Json::array({"a", "b"})},
                             {"text_2", Json::array({"a", "b", "c"})}})["param"],
            "text_2");
}

TEST(VectorWorker, ReadsLessWhileOthersWaitForTokens) {
  core::ThreadPool pool(1);
  const auto model = open_model(pool, kEmbedder);
  VectorWorker worker(*model->runner, &*model->settings);
  const auto add = [&](const std::string& client, size_t texts) {
    VectorJob job{.inputs = std::vector<embed::Input>(texts, embed::Input{.ids = {2, 5, 6, 7, 3}, .types = {}}),
                  .client = client,
                  .channel = std::make_shared<Channel>()};
    job.options.pooling = model->settings->pooling;
    const auto channel = job.channel;
    worker.add(std::move(job));
    return channel;
  };
  const auto many = add("a", 24);
  ASSERT_TRUE(worker.step());
  EXPECT_EQ(worker.counts().prompt_tokens, 60);  // rows of a whole step
  worker.set_read_seconds(0);
  ASSERT_TRUE(worker.step());
  EXPECT_EQ(worker.counts().prompt_tokens, 65);  // one text
  // Another client's single text waits for one turn, not for the rest.
  const auto single = add("b", 1);
  ASSERT_TRUE(worker.step());
  ASSERT_TRUE(worker.step());
  worker.tell_ends();
  const auto event = single->pop(std::chrono::milliseconds(0));
  ASSERT_TRUE(event && event->last);
  EXPECT_FALSE(event->error) << event->error->text();
  worker.set_read_seconds(kNoHurry);
  while (worker.step()) {
  }
  EXPECT_EQ(many->pop(std::chrono::milliseconds(0))->vectors.size(), 24U);
}

}  // namespace
}  // namespace lamina::serve
