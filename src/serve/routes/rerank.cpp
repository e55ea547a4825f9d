#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "serve/fields.h"
#include "serve/routes.h"
#include "serve/vector_request.h"

namespace lamina::serve {

namespace {

constexpr double kMostBytes = 16 << 20;
constexpr double kMostTexts = 2048;

constexpr std::array kRerank{
    Field{"model", FieldType::kText, "which model; needed when several could answer"},
    Field{"query", FieldType::kText, "what the documents are scored for", true, 0, kMostBytes},
    Field{"documents", FieldType::kList, "texts, or objects with a text", true, 1, kMostTexts},
    Field{"top_n", FieldType::kInteger, "tell so many of the best; all by default", false, 1, kMostTexts},
    Field{"return_documents", FieldType::kFlag, "repeat the documents"},
    Field{"raw_scores", FieldType::kFlag, "the model's own numbers instead of their sigmoid"},
    Field{"truncate", FieldType::kFlag, "cut pairs that are too long instead of refusing them"},
};
constexpr std::array kScore{
    Field{"model", FieldType::kText, "which model, a reranker or an embedder; needed when several could answer"},
    Field{"text_1", FieldType::kTexts, "a text, or as many as of the other", true, 0, kMostBytes},
    Field{"text_2", FieldType::kTexts, "the texts that it is held against", true, 0, kMostBytes},
    Field{"raw_scores", FieldType::kFlag, "of a reranker: the model's own numbers instead of their sigmoid"},
    Field{"truncate", FieldType::kFlag, "cut texts that are too long instead of refusing them"},
};

using Pair = std::pair<std::string, std::string>;

double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

Answer<std::vector<std::string>> read_documents(const Json& list) {
  std::vector<std::string> documents;
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string place = fmt::format("documents[{}]", i);
    if (list[i].is_string()) {
      documents.push_back(list[i].get<std::string>());
      continue;
    }
    constexpr std::array kDocument{Field{"text", FieldType::kText, "the document", true}};
    if (!list[i].is_object()) return refuse(400, place, "{}: a text or an object with a text expected", place);
    Json document = list[i];
    LAMINA_CHECK_OK(check_fields(document, kDocument, place));
    documents.push_back(document["text"].get<std::string>());
  }
  return documents;
}

/// Scores of a reranker.
Answer<std::vector<double>> rank_scores(Call& call, size_t index, const std::vector<Pair>& pairs) {
  std::vector<embed::Input> inputs;
  const ServedModel& model = call.model(index);
  for (size_t i = 0; i < pairs.size(); ++i) {
    LAMINA_ASSIGN(
        embed::Input input,
        encode_pair(model, pairs[i].first, pairs[i].second,
                    {.index = i, .limit = model.context(), .truncate = value_of(call.body, "truncate", false)}));
    inputs.push_back(std::move(input));
  }
  LAMINA_ASSIGN(const auto vectors, run_inputs(call, index, std::move(inputs)));
  const bool raw = value_of(call.body, "raw_scores", false);
  std::vector<double> scores;
  for (const auto& vector : vectors) {
    const double score = vector.front();
    scores.push_back(raw ? score : sigmoid(score));
  }
  return scores;
}

/// Cosines of an embedder's vectors.
Answer<std::vector<double>> cosine_scores(Call& call, size_t index, const std::vector<Pair>& pairs) {
  const ServedModel& model = call.model(index);
  if (call.body.contains("raw_scores"))
    return refuse(400, "raw_scores", "raw_scores: {} is an embedder, its scores are cosines", model.name);
  std::vector<embed::Input> inputs;
  for (size_t i = 0; i < 2 * pairs.size(); ++i) {
    const Pair& pair = pairs[i / 2];
    LAMINA_ASSIGN(
        embed::Input input,
        encode_text(model, i % 2 == 0 ? pair.first : pair.second, "",
                    {.index = i / 2, .limit = model.context(), .truncate = value_of(call.body, "truncate", false)}));
    inputs.push_back(std::move(input));
  }
  const embed::EmbedOptions options{
      .pooling = model.settings->pooling, .normalize = true, .dimensions = model.settings->own_dimensions};
  LAMINA_ASSIGN(const auto vectors, run_inputs(call, index, std::move(inputs), options));
  std::vector<double> scores;
  for (size_t i = 0; i < pairs.size(); ++i)
    scores.push_back(std::inner_product(vectors[2 * i].begin(), vectors[2 * i].end(), vectors[2 * i + 1].begin(), 0.0));
  return scores;
}

}  // namespace

std::span<const Field> rerank_fields() {
  return kRerank;
}

std::span<const Field> score_fields() {
  return kScore;
}

Answer<Reply> answer_rerank(Call& call) {
  LAMINA_ASSIGN(const size_t index, call.find_model({Task::kRank}));
  LAMINA_ASSIGN(const std::vector<std::string> documents, read_documents(call.body["documents"]));
  std::vector<Pair> pairs;
  for (const std::string& document : documents) pairs.emplace_back(call.body["query"].get<std::string>(), document);
  LAMINA_ASSIGN(const std::vector<double> scores, rank_scores(call, index, pairs));
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  // Equal ones stay in the order given.
  std::ranges::sort(order, [&](size_t a, size_t b) { return scores[a] != scores[b] ? scores[a] > scores[b] : a < b; });
  order.resize(std::min(order.size(), value_of(call.body, "top_n", order.size())));
  Json results = Json::array();
  for (const size_t i : order) {
    Json result{{"index", i}, {"relevance_score", scores[i]}};
    if (value_of(call.body, "return_documents", false)) result["document"] = {{"text", documents[i]}};
    results.push_back(std::move(result));
  }
  return json_reply(
      {{"id", "rerank-" + call.record->id},
       {"model", call.model(index).name},
       {"results", std::move(results)},
       {"usage", {{"prompt_tokens", call.record->prompt_tokens}, {"total_tokens", call.record->prompt_tokens}}}});
}

Answer<Reply> answer_score(Call& call) {
  LAMINA_ASSIGN(const size_t index, call.find_model({Task::kRank, Task::kEmbed}));
  std::vector<std::string> first = texts_of(call.body, "text_1");
  const std::vector<std::string> second = texts_of(call.body, "text_2");
  if (first.size() == 1) first.resize(second.size(), first.front());
  if (first.empty() || first.size() != second.size()) {
    return refuse(400, "text_2", "text_2: {} texts for {} of text_1; as many, or one of text_1 expected", second.size(),
                  first.size());
  }
  if (static_cast<double>(first.size()) > kMostTexts)
    return refuse(400, "text_2", "text_2: {} texts; at most {} expected", first.size(), kMostTexts);
  std::vector<Pair> pairs;
  for (size_t i = 0; i < first.size(); ++i) pairs.emplace_back(first[i], second[i]);
  const bool ranks = call.model(index).task == Task::kRank;
  LAMINA_ASSIGN(const std::vector<double> scores,
                ranks ? rank_scores(call, index, pairs) : cosine_scores(call, index, pairs));
  Json data = Json::array();
  for (size_t i = 0; i < scores.size(); ++i) data.push_back({{"index", i}, {"object", "score"}, {"score", scores[i]}});
  return json_reply(
      {{"object", "list"},
       {"model", call.model(index).name},
       {"data", std::move(data)},
       {"usage", {{"prompt_tokens", call.record->prompt_tokens}, {"total_tokens", call.record->prompt_tokens}}}});
}

}  // namespace lamina::serve
