// GPTQ against its textbook form, and what it promises: smaller errors of the outputs than plain rounding.
#include "compress/gptq.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <list>
#include <numeric>
#include <random>

#include "codec/grid.h"
#include "compress/model_statistics.h"
#include "format/safetensors_writer.h"

namespace lamina::compress {
namespace {

namespace fs = std::filesystem;
using app::TemporaryFolder;
using run::golden_folder;
using testing::HasSubstr;

constexpr int64_t kInputs = 512;
constexpr int64_t kOutputs = 16;

/// Inputs that hang together, as those of models do: a few directions, of quickly falling strength, and some noise.
stats::Gram correlated_gram(int64_t inputs, unsigned seed, int64_t rows = 2000) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  constexpr int kDirections = 24;
  std::vector<std::vector<double>> directions(kDirections, std::vector<double>(static_cast<size_t>(inputs)));
  for (auto& direction : directions)
    for (double& number : direction) number = normal(random);
  std::vector<double> sizes(static_cast<size_t>(inputs));
  for (double& size : sizes) size = std::exp(0.7 * normal(random));
  stats::Gram gram(inputs);
  const std::span<double> sums = gram.change();
  std::vector<double> x(static_cast<size_t>(inputs));
  for (int64_t r = 0; r < rows; ++r) {
    for (double& number : x) number = 0.3 * normal(random);
    for (int d = 0; d < kDirections; ++d) {
      const double strength = normal(random) / (1 + d);
      for (size_t i = 0; i < x.size(); ++i) x[i] += strength * directions[static_cast<size_t>(d)][i];
    }
    for (size_t i = 0; i < x.size(); ++i) x[i] *= sizes[i];
    for (int64_t i = 0; i < inputs; ++i)
      for (int64_t j = 0; j <= i; ++j)
        sums[static_cast<size_t>(stats::triangle_row(i) + j)] += x[static_cast<size_t>(i)] * x[static_cast<size_t>(j)];
  }
  gram.add_rows(rows);
  return gram;
}

std::vector<float> random_weights(int64_t rows, int64_t inputs, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> weights(static_cast<size_t>(rows * inputs));
  for (float& weight : weights) weight = 0.05f * normal(random);
  return weights;
}

struct Encoded {
  std::vector<std::byte> bytes;
  std::vector<float> numbers;
  std::vector<double> errors;
  std::vector<double> losses;
};

Encoded rounded(const stats::Gram& gram, const codec::Codec& codec, const std::vector<float>& weights,
                const GptqOptions& options, int threads = 2) {
  core::ThreadPool pool(threads);
  const int64_t inputs = gram.inputs();
  const auto rows = std::ssize(weights) / inputs;
  const GptqFactor factor = GptqFactor::make(gram, codec.format.block_elements, options, pool).value();
  Encoded out;
  out.bytes.resize(static_cast<size_t>(rows * codec.format.row_bytes(inputs)));
  out.numbers.resize(weights.size());
  out.errors.resize(static_cast<size_t>(rows));
  out.losses.resize(static_cast<size_t>(rows));
  const GptqFault fault =
      gptq_round(factor, codec, pool,
                 {.count = rows,
                  .read = [&](int64_t row, float* to) { std::copy_n(weights.data() + row * inputs, inputs, to); },
                  .out = out.bytes.data(),
                  .errors = out.errors.data(),
                  .losses = out.losses.data()});
  EXPECT_EQ(fault.row, -1);
  codec.decode(out.bytes.data(), std::ssize(weights), out.numbers.data());
  return out;
}

/// The mean squared error of the outputs, e H e^T summed over rows.
double output_error(const stats::Gram& gram, const std::vector<float>& weights, const std::vector<float>& numbers) {
  const int64_t inputs = gram.inputs();
  double sum = 0;
  for (size_t row = 0; row < weights.size(); row += static_cast<size_t>(inputs)) {
    std::vector<double> e(static_cast<size_t>(inputs));
    for (size_t i = 0; i < e.size(); ++i) e[i] = double{weights[row + i]} - double{numbers[row + i]};
    for (int64_t i = 0; i < inputs; ++i)
      for (int64_t j = 0; j < inputs; ++j) sum += e[static_cast<size_t>(i)] * gram.at(i, j) * e[static_cast<size_t>(j)];
  }
  return sum / static_cast<double>(gram.rows());
}

std::vector<float> plainly_rounded(const stats::Gram& gram, const codec::Codec& codec,
                                   const std::vector<float>& weights) {
  const int64_t inputs = gram.inputs();
  std::vector<float> importance;
  for (int64_t i = 0; i < inputs; ++i)
    importance.push_back(static_cast<float>(gram.at(i, i) / static_cast<double>(gram.rows())));
  std::vector<std::byte> bytes(static_cast<size_t>(codec.format.row_bytes(inputs)));
  std::vector<float> numbers(weights.size());
  for (int64_t at = 0; at < std::ssize(weights); at += inputs) {
    double error = 0;
    codec::encode_row(codec, weights.data() + at, inputs, bytes.data(), numbers.data() + at, error, importance.data());
  }
  return numbers;
}

std::vector<std::string> formats() {
  return {"q8_0", "q6_k", "q5_k",   "q5_1",   "q5_0",  "q4_k",  "q4_1", "q4_0",
          "q3_k", "q2_k", "iq4_xs", "iq4_nl", "mxfp4", "nvfp4", "cb2"};
}

TEST(Gptq, LowersTheErrorOfTheOutputsInEveryFormat) {
  const stats::Gram gram = correlated_gram(kInputs, 1);
  const std::vector<float> weights = random_weights(kOutputs, kInputs, 2);
  for (const std::string& name : formats()) {
    const codec::Codec& codec = *codec::find_codec(name);
    const double plain = output_error(gram, weights, plainly_rounded(gram, codec, weights));
    for (const auto order : {GptqOptions::Order::kAct, GptqOptions::Order::kBlock, GptqOptions::Order::kNone}) {
      const Encoded found = rounded(gram, codec, weights, {.order = order});
      const double loss = std::accumulate(found.losses.begin(), found.losses.end(), 0.0);
      const double error = output_error(gram, weights, found.numbers);
      EXPECT_NEAR(loss, error, 1e-3 * error) << name << ": the loss that it reports";
      EXPECT_LT(error, 0.75 * plain) << name << ", order " << static_cast<int>(order);
    }
  }
}

/// The method as its paper writes it: the inverse of H, its upper Cholesky factor, and after each column all later
/// ones moved. The scales are those of `encoded`, row after row; `own` counts blocks for which the search finds other
/// ones in the numbers as they stand here.
std::vector<float> textbook(const stats::Gram& gram, const codec::Codec& codec, const std::vector<float>& weights,
                            const std::vector<std::byte>& encoded, int& own) {
  const auto n = static_cast<size_t>(gram.inputs());
  std::vector<std::vector<double>> h(n, std::vector<double>(n));
  double mean = 0;
  std::vector<float> importance;
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < n; ++j)
      h[i][j] = gram.at(static_cast<int64_t>(i), static_cast<int64_t>(j)) / static_cast<double>(gram.rows());
    mean += h[i][i] / static_cast<double>(n);
    importance.push_back(static_cast<float>(h[i][i]));
  }
  for (size_t i = 0; i < n; ++i) h[i][i] += 0.01 * mean;
  // Gauss-Jordan.
  std::vector<std::vector<double>> inverse(n, std::vector<double>(n));
  for (size_t i = 0; i < n; ++i) inverse[i][i] = 1;
  for (size_t c = 0; c < n; ++c) {
    const double pivot = h[c][c];
    for (size_t j = 0; j < n; ++j) {
      h[c][j] /= pivot;
      inverse[c][j] /= pivot;
    }
    for (size_t i = 0; i < n; ++i) {
      if (i == c) continue;
      const double factor = h[i][c];
      for (size_t j = 0; j < n; ++j) {
        h[i][j] -= factor * h[c][j];
        inverse[i][j] -= factor * inverse[c][j];
      }
    }
  }
  // inverse = U^T U, U upper.
  std::vector<std::vector<double>> u(n, std::vector<double>(n));
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = i; j < n; ++j) {
      double sum = inverse[i][j];
      for (size_t k = 0; k < i; ++k) sum -= u[k][i] * u[k][j];
      u[i][j] = i == j ? std::sqrt(sum) : sum / u[i][i];
    }
  }
  const codec::Grid& grid = *codec::find_grid(codec);
  const auto block = static_cast<size_t>(codec.format.block_elements);
  std::vector<float> out(weights.size());
  for (size_t row = 0; row < weights.size(); row += n) {
    std::vector<double> w(weights.begin() + static_cast<std::ptrdiff_t>(row),
                          weights.begin() + static_cast<std::ptrdiff_t>(row + n));
    codec::BlockScales scales;
    for (size_t i = 0; i < n; ++i) {
      if (i % block == 0) {
        const std::vector<float> now(w.begin() + static_cast<std::ptrdiff_t>(i),
                                     w.begin() + static_cast<std::ptrdiff_t>(i + block));
        std::vector<std::byte> bytes(static_cast<size_t>(codec.format.block_bytes));
        codec.encode_weighted(now.data(), importance.data() + i, codec.format.block_elements, bytes.data());
        codec::BlockScales searched;
        grid.scales(bytes.data(), searched);
        grid.scales(encoded.data() + (row + i) / block * static_cast<size_t>(codec.format.block_bytes), scales);
        own += std::fabs(searched.scales[0] - scales.scales[0]) > 0.02f * std::fabs(scales.scales[0]) ? 1 : 0;
      }
      const size_t group = i % block / static_cast<size_t>(scales.group);
      const auto wanted = static_cast<float>(w[i]);
      uint8_t code = 0;
      grid.round({.count = 1,
                  .wanted = &wanted,
                  .scales = &scales.scales[group],
                  .offsets = &scales.offsets[group],
                  .book = scales.book.data()},
                 &code, &out[row + i]);
      const double error = (w[i] - double{out[row + i]}) / u[i][i];
      for (size_t j = i + 1; j < n; ++j) w[j] -= error * u[i][j];
    }
  }
  return out;
}

// In float32 and by another factor: now and then a number between two codes goes the other way, and some after it too.
TEST(Gptq, IsTheMethodOfItsPaper) {
  constexpr int64_t kFew = 256;
  constexpr int64_t kRows = 12;
  const stats::Gram gram = correlated_gram(kFew, 3);
  const std::vector<float> weights = random_weights(kRows, kFew, 4);
  for (const char* name : {"q8_0", "q4_0", "q4_1", "iq4_nl", "mxfp4", "q4_k", "q2_k", "q6_k"}) {
    const codec::Codec& codec = *codec::find_codec(name);
    const Encoded found = rounded(gram, codec, weights, {.order = GptqOptions::Order::kNone});
    int own = 0;
    const std::vector<float> wanted = textbook(gram, codec, weights, found.bytes, own);
    int64_t same = 0;
    for (size_t i = 0; i < wanted.size(); ++i) same += wanted[i] == found.numbers[i] ? 1 : 0;
    EXPECT_GT(same, std::ssize(wanted) * 95 / 100) << name;
    EXPECT_LE(own, kRows * kFew / codec.format.block_elements / 4) << name;
    const double error = output_error(gram, weights, wanted);
    EXPECT_NEAR(output_error(gram, weights, found.numbers), error, 0.05 * error) << name;
  }
}

TEST(Gptq, NoBitDependsOnThreadsOrOnTheRowsBeside) {
  const stats::Gram gram = correlated_gram(kInputs, 5, 600);
  const std::vector<float> weights = random_weights(37, kInputs, 6);
  const codec::Codec& codec = *codec::find_codec("q4_k");
  const Encoded one = rounded(gram, codec, weights, {}, 1);
  const Encoded five = rounded(gram, codec, weights, {}, 5);
  EXPECT_EQ(one.bytes, five.bytes);
  EXPECT_EQ(one.losses, five.losses);
  const std::vector<float> last(weights.end() - kInputs, weights.end());
  const Encoded alone = rounded(gram, codec, last, {}, 1);
  const auto row_bytes = static_cast<std::ptrdiff_t>(codec.format.row_bytes(kInputs));
  EXPECT_TRUE(std::ranges::equal(alone.bytes, std::span(one.bytes).last(static_cast<size_t>(row_bytes))));
}

TEST(Gptq, InputsThatWereNeverSeenAreRoundedAsTheyLie) {
  stats::Gram gram = correlated_gram(kInputs, 7, 600);
  const std::span<double> sums = gram.change();
  for (int64_t i = 0; i < kInputs; ++i)
    for (int64_t j = 0; j <= i; ++j)
      if (i % 3 == 0 || j % 3 == 0) sums[static_cast<size_t>(stats::triangle_row(i) + j)] = 0;
  const std::vector<float> weights = random_weights(kOutputs, kInputs, 8);
  const Encoded found = rounded(gram, *codec::find_codec("q4_0"), weights, {});
  double seen = 0;
  double unseen = 0;
  for (size_t i = 0; i < weights.size(); ++i)
    (i % 3 == 0 ? unseen : seen) += std::pow(double{weights[i]} - double{found.numbers[i]}, 2);
  EXPECT_LT(unseen, seen) << "there are half as many, and nothing is made up for in them";
}

TEST(Gptq, AMatrixThatIsNotPositiveIsRefusedWithAWayOut) {
  stats::Gram gram(32);
  gram.change()[1] = -5;  // two inputs with products but no squares
  gram.add_rows(10);
  core::ThreadPool pool(1);
  const auto refused = GptqFactor::make(gram, 32, {}, pool);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("damp=0.01; more expected"));
}

/// Statistics of a golden model over some tokens, saved.
fs::path saved_statistics(const fs::path& model, const TemporaryFolder& folder, bool grams, int64_t tokens = 96) {
  run::ModelRun run = run::ModelRun::open(model, {});
  return save_statistics(statistics_of(run, grams, tokens), folder, grams ? "grams" : "squares");
}

/// The golden model of experts with matrices four times as wide, so that formats in blocks fit, of random numbers.
fs::path wide_experts(const TemporaryFolder& folder) {
  fs::path model = folder_alone(golden_folder() / "mixtral", folder);
  nlohmann::json config = run::read_json(model / "config.json");
  config.update({{"hidden_size", 96}, {"intermediate_size", 96}, {"head_dim", 32}});
  std::ofstream(model / "config.json") << config.dump();
  const auto wide = [](int64_t size) { return size == 24 || size == 20 ? 96 : size == 8 ? 32 : size; };
  std::mt19937 random(11);
  std::normal_distribution<float> normal(0, 0.1F);
  std::list<std::vector<float>> numbers;  // which views point into
  format::SafetensorsWriter writer;
  const format::ModelFiles files = opened(model);
  for (const format::NamedTensor& tensor : files.tensors()) {
    core::TensorView view = tensor.view;
    view.format = &codec::find_codec("f32")->format;
    for (int64_t& size : view.shape) size = wide(size);
    std::vector<float>& own = numbers.emplace_back(static_cast<size_t>(view.elements()));
    for (float& number : own) number = normal(random) + (view.rank == 1 ? 1.0F : 0.0F);
    view.data = reinterpret_cast<const std::byte*>(own.data());
    EXPECT_TRUE(writer.add_tensor(tensor.name, view));
  }
  EXPECT_TRUE(writer.write(folder.path() / "wide.safetensors"));
  fs::rename(folder.path() / "wide.safetensors", model / "model.safetensors");
  return model;
}

TEST(GptqRecipe, RoundsTheMatricesThatItSelects) {
  const TemporaryFolder temporary;
  const fs::path model = golden_folder() / "codec" / "model.gguf";
  const fs::path statistics = saved_statistics(model, temporary, true);
  const auto report = with_statistics(model, temporary.path() / "a.gguf", "L*:q4_k L0.mlp:gptq(damp=0.05)", statistics);
  ASSERT_TRUE(report) << report.error().text();
  const auto plain = with_statistics(model, temporary.path() / "b.gguf", "L*:q4_k", statistics);
  ASSERT_TRUE(plain);
  int compensated = 0;
  for (size_t i = 0; i < report->tensors.size(); ++i) {
    const TensorReport& tensor = report->tensors[i];
    const bool wanted = tensor.name.starts_with("blk.0.ffn_") && tensor.after != tensor.before;
    EXPECT_EQ(tensor.gptq, wanted) << tensor.name;
    EXPECT_EQ(tensor.output_rmse > 0, wanted) << tensor.name;
    EXPECT_EQ(tensor.after, plain->tensors[i].after);
    if (!wanted) {
      EXPECT_EQ(tensor.rmse, plain->tensors[i].rmse) << tensor.name;
    }
    compensated += wanted ? 1 : 0;
  }
  EXPECT_EQ(compensated, 2) << "the third has the format already";
  EXPECT_EQ(opened(temporary.path() / "a.gguf").config()["lamina.recipe"], "L*:q4_k L0.mlp:gptq(damp=0.05)");
}

// Experts see what the router gives them: with little text some see too little.
TEST(GptqRecipe, ExpertsWithTooFewTokensAreRoundedPlainlyAndNamed) {
  const TemporaryFolder temporary;
  const fs::path model = wide_experts(temporary);
  const auto report = with_statistics(model, temporary.path() / "out.gguf", "L0.mlp:gptq+q4_0",
                                      saved_statistics(model, temporary, true, 48));
  ASSERT_TRUE(report) << report.error().text();
  int compensated = 0;
  int noted = 0;
  for (const TensorReport& tensor : report->tensors) {
    compensated += tensor.gptq ? 1 : 0;
    noted += tensor.note.find("rows to plain rounding: their inputs were seen less than") != std::string::npos ? 1 : 0;
  }
  EXPECT_GE(compensated, 3);
  EXPECT_GE(noted, 1);
}

TEST(GptqRecipe, FormatsWithoutScalesAreNamed) {
  const TemporaryFolder temporary;
  const fs::path model = golden_folder() / "mixtral" / "model.gguf";
  const auto report = with_statistics(model, temporary.path() / "out.gguf", "L*.mlp:gptq+q8_0",
                                      saved_statistics(model, temporary, true));
  ASSERT_TRUE(report) << report.error().text();
  EXPECT_THAT(report->notes.front(), HasSubstr("f16 instead of q8_0; not rounded by gptq: the format has no scales"));
}

TEST(GptqRecipe, RefusesWhatItCannotDoWithASentence) {
  const TemporaryFolder temporary;
  const fs::path model = golden_folder() / "codec" / "model.gguf";
  const fs::path out = temporary.path() / "out.gguf";
  const fs::path grams = saved_statistics(model, temporary, true);
  const auto message = [&](const std::string& recipe, const fs::path& statistics) {
    const auto report = with_statistics(model, out, recipe, statistics);
    EXPECT_FALSE(report) << recipe;
    return report ? "" : report.error().text();
  };
  EXPECT_THAT(message("L*:gptq+q4_k", {}), HasSubstr("character 4: gptq needs Gram matrices"));
  EXPECT_THAT(message("L*:gptq+q4_k", saved_statistics(model, temporary, false)), HasSubstr("`lamina stats --gram`"));
  EXPECT_THAT(message("L*:gptq", grams), HasSubstr("join one to it, as in L*:gptq+q4_k"));
  EXPECT_THAT(message("L*:gptq+f16", grams), HasSubstr("share no scale"));
  EXPECT_THAT(message("L*:gptq(damp=0)+q4_k", grams), HasSubstr("1e-06 to 1 expected"));
  EXPECT_FALSE(fs::exists(out));
}

}  // namespace
}  // namespace lamina::compress
