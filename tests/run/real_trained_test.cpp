// Small trained models against what the reference library computes with them in float32 (tools/make_trained_golden.py).
#include <gtest/gtest.h>

#include <cmath>

#include "models/vocabulary.h"
#include "run/engine.h"
#include "run/golden_files.h"
#include "run/log_probability.h"
#include "run/model_runs.h"
#include "support/source_dir.h"
#include "support/trained_models.h"

namespace lamina::run {
namespace {

constexpr double kRelative = 1e-4;  // of the largest number of a layer's stream
constexpr double kMaxKl = 1e-6;
// Float32 sums in another order move the gap between two logits by so much at most.
constexpr double kUndecided = 1e-3;

class RealTrained : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    model_ = trained_model(GetParam());
    if (!model_) {
      GTEST_SKIP() << "no trained model " << GetParam() << " in " << trained_models().string()
                   << "; LAMINA_TEST_MODELS names another folder";
    }
  }
  std::filesystem::path golden(const std::string& file) const {
    return source_dir() / "tests/golden/real" / GetParam() / file;
  }
  ModelRun open(int32_t sequences = 1) const {
    return ModelRun::open(*model_, {.exact = true, .context = 192, .sequences = sequences, .max_rows = 192});
  }

  std::optional<std::filesystem::path> model_;
};

/// Divergence of a row's distribution from the reference's, the tokens whose logits are not kept taken as one.
double divergence(std::span<const float> row, std::span<const int32_t> ids, std::span<const float> kept, double sum) {
  std::vector<double> log_q(ids.size());
  log_probabilities(row, ids, log_q);
  double kl = 0;
  double rest_p = 1;
  double rest_q = 1;
  for (size_t i = 0; i < ids.size(); ++i) {
    const double log_p = double{kept[i]} - sum;
    kl += std::exp(log_p) * (log_p - log_q[i]);
    rest_p -= std::exp(log_p);
    rest_q -= std::exp(log_q[i]);
  }
  return kl + (rest_p > 1e-9 ? rest_p * std::log(rest_p / std::max(rest_q, 1e-12)) : 0);
}

TEST_P(RealTrained, LogitsAreTheReferences) {
  const auto tokens = read_npy<int32_t>(golden("tokens.npy"), "<i4");
  const auto ids = read_npy<int32_t>(golden("top_ids.npy"), "<i4");
  const auto kept = read_npy<float>(golden("top_logits.npy"), "<f4");
  const auto sums = read_npy<double>(golden("logsumexp.npy"), "<f8");
  ModelRun run = open();
  const std::vector<float> logits = run.logits(tokens, {static_cast<int64_t>(tokens.size())});
  const auto vocabulary = static_cast<size_t>(run.model->vocabulary());
  const size_t top = ids.size() / tokens.size();
  double worst = 0;
  for (size_t i = 0; i < tokens.size(); ++i) {
    worst = std::max(
        worst, divergence(std::span(logits).subspan(i * vocabulary, vocabulary), std::span(ids).subspan(i * top, top),
                          std::span(kept).subspan(i * top, top), sums[i]));
  }
  std::cout << "largest divergence of a position: " << worst << '\n';
  record_figure("kl_largest", worst);
  EXPECT_LE(worst, kMaxKl);
}

/// Keeps the stream at some positions of a sequence that runs in one step.
class KeepPositions : public BorderHook {
 public:
  explicit KeepPositions(std::vector<int32_t> positions) : positions_(std::move(positions)) {}
  void at_border(const Border& border, float* stream) override {
    for (const int32_t position : positions_) {
      const float* row = stream + position * border.hidden;
      kept.insert(kept.end(), row, row + border.hidden);
    }
  }
  std::vector<float> kept;

 private:
  std::vector<int32_t> positions_;
};

TEST_P(RealTrained, HiddenStatesAreTheReferences) {
  const auto tokens = read_npy<int32_t>(golden("tokens.npy"), "<i4");
  const auto hidden = read_npy<float>(golden("hidden.npy"), "<f4");
  ModelRun run = open();
  KeepPositions hook(read_npy<int32_t>(golden("positions.npy"), "<i4"));
  run.runner->set_hook(&hook);
  run.logits(tokens, {static_cast<int64_t>(tokens.size())});
  ASSERT_EQ(hook.kept.size(), hidden.size());
  const size_t layer_size = hidden.size() / (run.model->layers().size() + 1);
  double worst = 0;
  for (size_t begin = 0; begin < hidden.size(); begin += layer_size) {
    double difference = 0;
    double largest = 0;
    for (size_t i = begin; i < begin + layer_size; ++i) {
      difference = std::max(difference, std::abs(double{hook.kept[i]} - double{hidden[i]}));
      largest = std::max(largest, std::abs(double{hidden[i]}));
    }
    worst = std::max(worst, difference / largest);
  }
  std::cout << "largest relative error of a stream: " << worst << '\n';
  record_figure("hidden", worst);
  EXPECT_LE(worst, kRelative);
}

TEST_P(RealTrained, ContinuesAsTheReference) {
  const nlohmann::json cases = read_json(golden("greedy.json")).at("cases");
  const auto tokenizer = models::load_tokenizer(*model_);
  ASSERT_TRUE(tokenizer) << tokenizer.error().text();
  ModelRun run = open(static_cast<int32_t>(cases.size()));
  Engine engine(*run.runner, nullptr);
  for (const auto& one : cases) {
    const auto ids =
        tokenizer->encode(one.at("prompt").get<std::string>(), {.add_special = false, .parse_special = true});
    ASSERT_TRUE(ids) << ids.error().text();
    EXPECT_EQ(*ids, one.at("prompt_tokens").get<std::vector<int32_t>>()) << one.at("name");
    GenerationRequest request;
    request.prompt = *ids;
    request.max_tokens = static_cast<int64_t>(one.at("tokens").size());
    request.ignore_end = true;
    request.sampling.temperature = 0;
    ASSERT_TRUE(engine.submit(std::move(request)));
  }
  ASSERT_TRUE(engine.finish());
  for (size_t i = 0; i < cases.size(); ++i) {
    const auto wanted = cases[i].at("tokens").get<std::vector<int32_t>>();
    const auto& found = engine.result(i).tokens;
    ASSERT_EQ(found.size(), wanted.size());
    const auto at = static_cast<size_t>(std::ranges::mismatch(wanted, found).in1 - wanted.begin());
    if (at < wanted.size()) {
      EXPECT_LT(cases[i].at("margins").at(at).get<double>(), kUndecided) << cases[i].at("name") << ", step " << at;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, RealTrained, testing::Values("dense", "moe", "mla", "gpt2"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace lamina::run
