// `rsparse` in the run and the factors that `svd(rest=keep)` writes for it, beside the same computed in double from the
// file's numbers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "compress/conversions.h"
#include "run/route_cost.h"

namespace lamina::compress {
namespace {

namespace fs = std::filesystem;
using app::TemporaryFolder;
using run::golden_folder;
using run::ModelRun;
using testing::HasSubstr;
using Vector = std::vector<double>;

const std::vector<int32_t> kTokens{3, 17, 90, 4, 55, 8, 21};

/// One matrix of a file.
struct Numbers {
  std::vector<float> numbers;
  size_t outputs = 0;

  Numbers(const format::ModelFiles& files, const std::string& name) {
    const core::TensorView* view = files.find(name);
    if (view == nullptr) return;
    numbers = numbers_of(*view);
    outputs = static_cast<size_t>(view->shape[0]);
  }
  Vector times(const Vector& x) const {
    Vector y(outputs);
    for (size_t o = 0; o < outputs; ++o) {
      for (size_t i = 0; i < x.size(); ++i) y[o] += double{numbers[o * x.size() + i]} * x[i];
    }
    return y;
  }
};

/// The `share` of the numbers with the largest magnitudes; the others are 0.
Vector largest(const Vector& x, double share) {
  std::vector<size_t> order(x.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::sort(order, {}, [&](size_t i) { return std::pair(-std::abs(x[i]), i); });
  Vector out(x.size());
  const auto count = static_cast<size_t>(std::lround(share * static_cast<double>(x.size())));
  for (size_t i = 0; i < count; ++i) out[order[i]] = x[order[i]];
  return out;
}

/// The matrix with the largest inputs, and its factors, if the file has them, with all.
Vector product(const format::ModelFiles& files, const std::string& name, const Vector& x, double share) {
  Vector y = Numbers(files, name).times(largest(x, share));
  const Numbers first(files, name + ".factor_in");
  if (first.outputs == 0) return y;
  const Vector other = Numbers(files, name + ".factor_out").times(first.times(x));
  for (size_t i = 0; i < y.size(); ++i) y[i] += other[i];
  return y;
}

/// What the MLP of layer 0 adds to a row of the stream.
Vector mlp(const format::ModelFiles& files, std::span<const float> row, double share) {
  const Numbers scale(files, "blk.0.ffn_norm.weight");
  double square = 0;
  for (const float x : row) square += double{x} * double{x};
  const double root = std::sqrt(square / static_cast<double>(row.size()) + 1e-5);
  Vector x(row.size());
  for (size_t i = 0; i < x.size(); ++i) x[i] = double{row[i]} / root * double{scale.numbers[i]};
  Vector gate = product(files, "blk.0.ffn_gate.weight", x, share);
  const Vector up = product(files, "blk.0.ffn_up.weight", x, share);
  for (size_t i = 0; i < gate.size(); ++i) gate[i] *= up[i] / (1 + std::exp(-gate[i]));
  return product(files, "blk.0.ffn_down.weight", gate, share);
}

/// Streams before and after the MLP of layer 0, which is the whole route.
std::vector<std::vector<float>> streams(const fs::path& model, const std::string& recipe, int64_t piece) {
  ModelRun run = ModelRun::open(model, {.recipe = "route:0 L0.attn:drop kv:f32 " + recipe});
  run::KeepStreams hook;
  run.runner->set_hook(&hook);
  run.logits(kTokens, {piece});
  return hook.streams;
}

void expect_share(const fs::path& model, const std::string& format, double share) {
  const std::string recipe = format + fmt::format(" L*.mlp:rsparse(share={})", share);
  const auto found = streams(model, recipe, std::ssize(kTokens));
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(streams(model, recipe, 1), found) << recipe;
  const auto files = opened(model);
  const size_t width = found[0].size() / kTokens.size();
  for (size_t r = 0; r < kTokens.size(); ++r) {
    const Vector wanted = mlp(files, std::span(found[0]).subspan(r * width, width), share);
    double size = 0;
    for (const double x : wanted) size = std::max(size, std::abs(x));
    ASSERT_GT(size, 1e-3);
    for (size_t i = 0; i < width; ++i) {
      const double added = double{found[1][r * width + i]} - double{found[0][r * width + i]};
      ASSERT_NEAR(added, wanted[i], 2e-5 * size) << model << " " << recipe << ", row " << r << ", number " << i;
    }
  }
}

TEST(InputShare, OnlyTheLargestInputsTakePart) {
  for (const double share : {0.1, 0.5, 0.9}) expect_share(golden_folder() / "gqa/model.gguf", "L*:f32", share);
}

TEST(InputShare, FactorsOfWhatIsKeptReadAllInputs) {
  const TemporaryFolder temporary;
  const fs::path file = temporary.path() / "kept.gguf";
  const CompressReport report =
      written(golden_folder() / "gqa/model.gguf", file, "L*.mlp:svd(rank=8,rest=keep) L*:f32");
  EXPECT_THAT(report.passes.at(0).summary, HasSubstr("6 matrices got two factors"));
  EXPECT_NE(opened(file).find("blk.0.ffn_up.weight"), nullptr);
  for (const double share : {0.3, 0.5}) expect_share(file, "L*:f32", share);
}

double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double square = 0;
  double size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    square += std::pow(double{a[i]} - double{b[i]}, 2);
    size += std::pow(double{b[i]}, 2);
  }
  return std::sqrt(square / size);
}

std::vector<float> logits_of(const fs::path& model, const std::string& recipe) {
  return ModelRun::open(model, {.exact = true, .recipe = recipe}).logits(kTokens, {3});
}

// With all inputs, factors and what they leave are the matrix again; with half, the factors make up for a part.
TEST(InputShare, FactorsMakeUpForInputsThatAreLeftOut) {
  const TemporaryFolder temporary;
  const fs::path model = golden_folder() / "gqa/model.gguf";
  const fs::path kept = temporary.path() / "kept.gguf";
  written(model, kept, "L*.mlp:svd(rank=20,rest=keep) L*:f32");
  const std::vector<float> wanted = logits_of(model, "L*:f32 kv:f32");
  EXPECT_LT(distance(logits_of(kept, "L*:f32 kv:f32"), wanted), 1e-5);
  EXPECT_EQ(logits_of(model, "L*:f32 kv:f32 L*:rsparse(share=1)"), wanted);
  const std::string half = "L*:f32 kv:f32 L*.mlp:rsparse(share=0.5)";
  const double bare = distance(logits_of(model, half), wanted);
  EXPECT_GT(bare, 1e-3);
  EXPECT_LT(distance(logits_of(kept, half), wanted), 0.9 * bare);
  written(kept, temporary.path() / "folder");
  written(temporary.path() / "folder", temporary.path() / "again.gguf");
  expect_bytes(opened(temporary.path() / "again.gguf"), opened(kept));
}

TEST(InputShare, ATokenReadsTheColumnsOfItsInputs) {
  const fs::path model = golden_folder() / "gqa/model.gguf";
  const ModelRun plain = ModelRun::open(model, {.recipe = "L*:f16"});
  const ModelRun half = ModelRun::open(model, {.recipe = "L*:f16 L*:rsparse(share=0.5)"});
  const run::RouteCost whole = run::route_cost(*plain.runner);
  const run::RouteCost some = run::route_cost(*half.runner);
  int64_t layers = 0;
  for (const run::ExpertCost& part : some.experts) layers += part.bytes;
  EXPECT_EQ(some.fixed_bytes + layers, whole.fixed_bytes);
  EXPECT_DOUBLE_EQ(some.weight_bytes(1), whole.weight_bytes(1) - 0.5 * static_cast<double>(layers));
  EXPECT_GT(some.weight_bytes(4), some.weight_bytes(1));
  EXPECT_LT(some.weight_bytes(4), whole.weight_bytes(4));
  EXPECT_EQ(2 * some.layers.float32, whole.layers.float32);
}

TEST(InputShare, SaysWhatItCannotDo) {
  const auto build = [](const std::string& golden, const std::string& recipe) {
    return models::Model::build(golden_folder() / golden / "model.gguf", {.recipe = recipe::parse(recipe).value()});
  };
  const auto slow = build("gqa", "L*:q4_0 L*:rsparse");
  ASSERT_TRUE(slow) << slow.error().text();
  EXPECT_THAT((*slow)->weights().notes(), testing::Contains(HasSubstr("q4_0 does not lie input by input")));
  EXPECT_THAT((*build("gqa", "L*:q8_0 L*:rsparse"))->weights().notes(),
              testing::Each(testing::Not(HasSubstr("input by input"))));
  const auto nothing = build("mamba2", "L*.mlp:rsparse");
  ASSERT_FALSE(nothing);
  EXPECT_THAT(nothing.error().text(), HasSubstr("L*.mlp selects no matrix"));
  const TemporaryFolder temporary;
  const auto file = write(golden_folder() / "gqa/model.gguf", temporary.path() / "out.gguf", "L*.mlp:rsparse");
  ASSERT_FALSE(file);
  EXPECT_THAT(file.error().text(), HasSubstr("rsparse changes the run"));
}

}  // namespace
}  // namespace lamina::compress
