#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "compress/layer_walk.h"
#include "compress/linear_algebra.h"
#include "compress/passed_model.h"
#include "run/divergence.h"

namespace lamina::compress {
namespace {

namespace fs = std::filesystem;
using app::TemporaryFolder;
using run::golden_folder;
using run::ModelRun;
using testing::HasSubstr;

/// Products of rows of two inputs and three targets that are sums of them, the last one noise beside them.
stats::Gram products_of(int64_t rows, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  stats::Gram gram(5);
  const std::span<double> sums = gram.change();
  for (int64_t r = 0; r < rows; ++r) {
    std::array<float, 5> x{normal(random), normal(random)};
    x[2] = 2 * x[0] - x[1];
    x[3] = x[0] + 3 * x[1];
    x[4] = normal(random);
    for (int64_t i = 0; i < 5; ++i) {
      for (int64_t j = 0; j <= i; ++j)
        sums[static_cast<size_t>(stats::triangle_row(i) + j)] +=
            double{x[static_cast<size_t>(i)]} * double{x[static_cast<size_t>(j)]};
    }
  }
  gram.add_rows(rows);
  return gram;
}

TEST(Regress, FindsTheMatrixThatMadeTheTargets) {
  const stats::Gram gram = products_of(400, 1);
  const Matrix plain = regress(gram, 2, 0).value();
  ASSERT_EQ(plain.outputs, 3);
  ASSERT_EQ(plain.inputs, 2);
  const std::vector<float> wanted{2, -1, 1, 3};
  for (size_t i = 0; i < wanted.size(); ++i) EXPECT_NEAR(plain.numbers[i], wanted[i], 1e-5) << i;
  // With a ridge as large as the inputs' squares, inputs that do not correlate are told by halves.
  const Matrix half = regress(gram, 2, 1).value();
  for (size_t i = 0; i < wanted.size(); ++i) EXPECT_NEAR(half.numbers[i], wanted[i] / 2, 0.2) << i;
  // Squares of the targets: 5, 10 and 1 in the mean, of which the last is noise.
  EXPECT_NEAR(share_told(gram, plain), 15.0 / 16, 0.02);
  EXPECT_LT(share_told(gram, half), share_told(gram, plain));
  EXPECT_LT(share_told(products_of(400, 2), regress(products_of(3, 3), 2, 0).value()), 15.0 / 16);
  EXPECT_FALSE(regress(stats::Gram(5), 2, 1)) << "nothing was read";
}

TEST(Regress, ProductsAreAddedToRows) {
  const Matrix matrix{.outputs = 2, .inputs = 3, .numbers = {1, 2, 3, 4, 5, 6}};
  const std::vector<float> x{1, 10, 99, 2, 20, 99};  // two rows of two numbers, three apart
  std::vector<float> y{1, 1, 1, 1};
  add_products(matrix, {.data = x.data(), .stride = 3, .count = 2}, true, 2, y.data());
  EXPECT_EQ(y, (std::vector<float>{1 + 2 * 24, 1 + 2 * 60, 1 + 2 * 45, 1 + 2 * 114}));
  add_products(matrix, {.data = x.data(), .stride = 3, .count = 1}, false, 1, y.data());
  EXPECT_EQ(y[0], 49 + 1 + 20 + 297);
}

/// A golden model and tokens of no meaning.
struct Loaded {
  core::ThreadPool pool{2};
  std::unique_ptr<models::Model> model;
  std::vector<int32_t> tokens;

  explicit Loaded(const std::string& golden) {
    model = models::Model::build(golden_model(golden), {}).value();
    EXPECT_TRUE(model->load(pool, {}));
    tokens = some_tokens(4 * 48 + 7, model->vocabulary());
  }
};

TEST(LayerWalk, GoesThroughTheLayersAsARunDoes) {
  Loaded loaded("smollm3");
  const auto walker = LayerWalker::create(*loaded.model, loaded.pool, loaded.tokens, 48, 4);
  ASSERT_TRUE(walker);
  EXPECT_EQ(walker->windows(), 4);
  ModelRun run = ModelRun::open(golden_model("smollm3"), {.recipe = ""});
  run::KeepStreams wanted;
  std::vector<float> logits;
  run.runner->set_hook(&wanted);
  for (size_t w = 0; w < 4; ++w) {
    const auto from = loaded.tokens.begin() + static_cast<std::ptrdiff_t>(w * 48);
    const std::vector<float> own = run.logits({from, from + 48}, {48});
    logits.insert(logits.end(), own.begin(), own.end());
  }
  std::vector<float> stream(wanted.streams[0].size());
  std::vector<float> found;
  const auto layers = static_cast<int>(loaded.model->layers().size());
  for (int layer = 0; layer < layers; ++layer) {
    Walk walk{.visits = {walker->visit(layer)}, .end = 4, .from = layer == 0 ? nullptr : &stream, .to = &stream};
    if (layer + 1 == layers) {
      walk.predict = [&](int64_t, std::span<const float> own) -> core::Status {
        found.insert(found.end(), own.begin(), own.end());
        return {};
      };
    }
    ASSERT_TRUE(walker->run(walk));
    EXPECT_EQ(stream, wanted.streams[static_cast<size_t>(layer) + 1]) << layer;
  }
  EXPECT_EQ(found, logits);
  EXPECT_THAT(LayerWalker::create(*loaded.model, loaded.pool, loaded.tokens, 48, 5).error().text(),
              HasSubstr("199 tokens; at least 5 windows of 48"));
}

/// The stream after the last layer and the logits of every window.
struct Outcome {
  std::vector<float> stream;
  std::vector<float> logits;

  Outcome(const models::Model& model, core::ThreadPool& pool, std::span<const int32_t> tokens) {
    const auto walker = LayerWalker::create(model, pool, tokens, 256, 1).value();
    stream.resize(static_cast<size_t>(walker.rows() * model.hidden()));
    Walk walk{.end = walker.windows(), .to = &stream};
    for (size_t i = 0; i < model.layers().size(); ++i) walk.visits.push_back(walker.visit(static_cast<int>(i)));
    walk.predict = [&](int64_t, std::span<const float> own) -> core::Status {
      logits.insert(logits.end(), own.begin(), own.end());
      return {};
    };
    EXPECT_TRUE(walker.run(walk));
  }
  /// Mean square of the difference of each row, beside the row of `wanted`.
  double error(const Outcome& wanted, int64_t hidden) const {
    double sum = 0;
    const auto width = static_cast<size_t>(hidden);
    for (size_t at = 0; at < stream.size(); at += width) {
      double difference = 0;
      double square = 0;
      for (size_t i = at; i < at + width; ++i) {
        difference += std::pow(double{stream[i]} - double{wanted.stream[i]}, 2);
        square += double{wanted.stream[i]} * double{wanted.stream[i]};
      }
      sum += difference / square;
    }
    return sum / (static_cast<double>(stream.size()) / static_cast<double>(hidden));
  }
};

class FoldedFamily : public testing::TestWithParam<std::string> {};

// Families with a plain stack, with biases, with factors on what is added, with parts side by side.
TEST_P(FoldedFamily, ComesNearerToTheModelThanWithoutTheLayerAlone) {
  const fs::path model = golden_model(GetParam());
  const auto own = models::Model::build(model, {.exact = true}).value();
  const std::vector<int32_t> tokens = some_tokens(2048, own->vocabulary());
  core::ThreadPool pool(2);
  ASSERT_TRUE(own->load(pool, {}));
  const Outcome wanted(*own, pool, tokens);
  for (const std::string part : {"", ".attn"}) {
    if (!part.empty() && GetParam() != "biases") continue;  // one family for both
    Passed dropped(model, fmt::format("L1{}:drop", part), {});
    Passed folded(model, fmt::format("L1{}:fold", part), tokens);
    ASSERT_TRUE(folded.status) << folded.status.error().text();
    const auto& details = folded.reports.at(0).details;
    ASSERT_TRUE(details.at("folds").at(0).contains("ridge")) << GetParam() << part << " was only dropped";
    const Outcome without(*dropped.load(), pool, tokens);
    const Outcome with(*folded.load(), pool, tokens);
    EXPECT_LT(with.error(wanted, own->hidden()), 0.98 * without.error(wanted, own->hidden())) << GetParam() << part;
    const auto distance = [&](const Outcome& outcome) {
      return run::mean_divergence(pool, wanted.logits, outcome.logits, tokens.size());
    };
    EXPECT_LT(distance(with), distance(without)) << GetParam() << part;
    EXPECT_LT(details.at("divergence").get<double>(), details.at("divergence_dropped").get<double>());
  }
}

INSTANTIATE_TEST_SUITE_P(All, FoldedFamily, testing::Values("gqa", "biases", "granite", "gpt2", "gptneox"),
                         [](const auto& info) { return info.param; });

TEST(Fold, ChangesTheCarrierAlone) {
  const fs::path model = golden_model("smollm3");
  const std::vector<int32_t> tokens = some_tokens(1280, 104);
  const Passed dropped(model, "L2-3:drop", {});
  const Passed folded(model, "L2-3:fold", tokens);
  ASSERT_TRUE(folded.status) << folded.status.error().text();
  const auto& folds = folded.reports.at(0).details.at("folds");
  ASSERT_EQ(folds.size(), 1U);
  EXPECT_EQ(folds[0].at("layer"), 1);
  EXPECT_EQ(folded.edit->names(), dropped.edit->names());
  EXPECT_EQ(folded.edit->config(), dropped.edit->config());
  for (size_t i = 0; i < folded.edit->pieces().size(); ++i) {
    const Piece& piece = folded.edit->pieces()[i];
    const bool carries = piece.from.tensor == folds[0].at("tensor").get<std::string>() && folds[0].contains("ridge");
    const bool same = folded.edit->read(piece)->numbers == dropped.edit->read(dropped.edit->pieces()[i])->numbers;
    EXPECT_EQ(same, !carries) << piece.from.tensor;
  }
  // Layers in front of which nothing stays are made up for by those behind.
  const Passed first(model, "L0:fold(into=2)", tokens);
  ASSERT_TRUE(first.status) << first.status.error().text();
  const auto& behind = first.reports.at(0).details.at("folds");
  ASSERT_EQ(behind.size(), 2U);
  EXPECT_EQ(behind[0].at("layer"), 1);
  EXPECT_EQ(behind[1].at("layer"), 2);
  EXPECT_LE(behind[1].at("divergence").get<double>(), behind[0].at("divergence_before").get<double>());
}

TEST(Fold, DoesNotDependOnThreads) {
  std::vector<std::vector<float>> numbers;
  for (const int threads : {1, 3}) {
    core::ThreadPool pool(threads);
    const TemporaryFolder folder;
    auto edit = ModelEdit::open(models::Model::build(golden_model("gqa"), {}).value(), folder.path(), pool).value();
    edit.set_calibration(some_tokens(2048, 104));
    std::vector<PassReport> reports;
    ASSERT_TRUE(run_passes(recipe::parse("L1:fold").value(), edit, reports));
    numbers.push_back(edit.read(*edit.find(0, "mlp", "down"))->numbers);
  }
  EXPECT_EQ(numbers[0], numbers[1]);
}

TEST(Fold, RefusesWhatItCannotFold) {
  const TemporaryFolder temporary;
  const fs::path gqa = golden_model("gqa");
  const fs::path out = temporary.path() / "out.gguf";
  EXPECT_THAT(write(gqa, out, "L1:fold").error().text(), HasSubstr("--calibration"));
  core::ThreadPool pool(2);
  const fs::path text = temporary.path() / "text";
  std::ofstream(text) << "text";
  const auto unread = compress({.model = gqa, .out = out, .recipe = "L1:drop", .calibration = {text}}, pool, {});
  ASSERT_FALSE(unread);
  EXPECT_THAT(unread.error().text(), HasSubstr("no technique of the recipe reads calibration text"));
  const auto refusal = [](const std::string& golden, const std::string& recipe, int64_t tokens = 4096) {
    const Passed passed(golden_model(golden), recipe, some_tokens(tokens, 100));
    return passed.status ? std::string() : passed.status.error().text();
  };
  EXPECT_THAT(refusal("gqa", "L*:fold"), HasSubstr("no layer is left"));
  EXPECT_THAT(refusal("gqa", "L1:fold", 100), HasSubstr("100 tokens; at least 4 windows of 256"));
  EXPECT_THAT(refusal("mixtral", "L1:fold"), HasSubstr("mlp of layer 0 cannot take work over"));
  EXPECT_THAT(refusal("gemma2", "L1:fold"), HasSubstr("through a norm before it is in the stream"));
  EXPECT_THAT(refusal("gqa", "L*:fold(count=1)"), HasSubstr("--stats"));
}

}  // namespace
}  // namespace lamina::compress
