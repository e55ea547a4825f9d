#include "layers/routed.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>
#include <set>

#include "cache/kv_cache.h"
#include "format/gguf_writer.h"

namespace lamina::layers {
namespace {

/// A file with one vector, the bias of 12 experts.
class Router : public testing::Test {
 protected:
  static constexpr int64_t kExperts = 12;

  void SetUp() override {
    for (size_t i = 0; i < bias_.size(); ++i) bias_[i] = static_cast<float>(i % 5) * 0.2F - 0.4F;
    core::TensorView view;
    view.format = &codec::find_codec("f32")->format;
    view.rank = 1;
    view.shape[0] = kExperts;
    view.data = reinterpret_cast<const std::byte*>(bias_.data());
    format::GgufWriter writer;
    ASSERT_TRUE(writer.add_tensor("bias", view));
    path_ = std::filesystem::path(testing::TempDir()) /
            (std::string("router_") + testing::UnitTest::GetInstance()->current_test_info()->name() + ".gguf");
    ASSERT_TRUE(writer.write(path_));
    files_ = format::ModelFiles::open(path_).value();
  }
  void TearDown() override { std::filesystem::remove(path_); }

  core::Result<RouterOptions> read(const nlohmann::json& patch = nlohmann::json::object()) {
    nlohmann::json json{{"experts", kExperts}, {"used", 4}};
    json.merge_patch(patch);
    Record record(json, "mlp");
    Weights weights(*files_, false);
    LAMINA_ASSIGN(RouterOptions options, read_router_options(record, weights));
    LAMINA_CHECK_OK(record.done());
    return options;
  }

  /// Experts and shares by row.
  struct Chosen {
    std::vector<std::vector<int32_t>> experts;
    std::vector<std::vector<float>> shares;
  };
  Chosen run(const RouterOptions& options, std::vector<float> logits) {
    const int64_t rows = static_cast<int64_t>(logits.size()) / options.experts;
    core::ThreadPool pool(2);
    auto cache = cache::KvCache::create({.visits = {{}}, .tokens = 64}).value();
    auto memory = core::AlignedBuffer::allocate(static_cast<size_t>(route_bytes(options, rows))).value();
    Arena arena({memory.data(), memory.size()});
    Step step{.pool = pool,
              .cache = cache,
              .arena = arena,
              .thread_scratch = {},
              .groups = {},
              .ropes = {},
              .rows = rows,
              .visit = 0};
    const Routes routes = route(step, options, logits.data());
    Chosen chosen;
    for (int64_t row = 0; row < rows; ++row) {
      auto& experts = chosen.experts.emplace_back();
      auto& shares = chosen.shares.emplace_back();
      for (int64_t i = row * options.used; i < (row + 1) * options.used; ++i) {
        const int32_t place = routes.places[i];
        EXPECT_EQ(routes.sources[place], row);
        const auto* after = std::upper_bound(routes.first, routes.first + options.experts + 1, place);
        experts.push_back(static_cast<int32_t>(after - routes.first) - 1);
        shares.push_back(routes.shares[i]);
      }
    }
    return chosen;
  }

  std::vector<float> random_logits(int64_t rows) {
    std::mt19937 random(3);
    std::normal_distribution<float> normal(0, 2);
    std::vector<float> logits(static_cast<size_t>(rows * kExperts));
    for (float& x : logits) x = normal(random);
    return logits;
  }

  std::array<float, kExperts> bias_{};
  std::filesystem::path path_;
  std::optional<format::ModelFiles> files_;
};

TEST_F(Router, SoftmaxSharesAreTheLargestProbabilities) {
  const auto logits = random_logits(20);
  const Chosen chosen = run(*read(), logits);
  for (size_t row = 0; row < 20; ++row) {
    const float* own = logits.data() + row * kExperts;
    double sum = 0;
    for (int64_t i = 0; i < kExperts; ++i) sum += std::exp(double{own[i]});
    std::vector<int32_t> order(kExperts);
    std::iota(order.begin(), order.end(), 0);
    std::ranges::sort(order, std::greater{}, [&](int32_t i) { return own[i]; });
    order.resize(4);
    EXPECT_EQ(chosen.experts[row], order);
    for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(chosen.shares[row][i], std::exp(double{own[order[i]]}) / sum, 1e-6);
  }
}

TEST_F(Router, TheBiasChoosesAndTheScoreWeighs) {
  const auto logits = random_logits(20);
  const Chosen chosen = run(
      *read({{"scoring", "sigmoid"}, {"selection_bias", "bias"}, {"normalize", true}, {"share_scale", 2.5}}), logits);
  for (size_t row = 0; row < 20; ++row) {
    const auto score = [&](int32_t i) {
      return 1 / (1 + std::exp(-double{logits[row * kExperts + static_cast<size_t>(i)]}));
    };
    std::vector<int32_t> order(kExperts);
    std::iota(order.begin(), order.end(), 0);
    std::ranges::sort(order, std::greater{},
                      [&](int32_t i) { return score(i) + double{bias_[static_cast<size_t>(i)]}; });
    order.resize(4);
    EXPECT_EQ(chosen.experts[row], order);
    double sum = 0;
    for (const int32_t expert : order) sum += score(expert);
    for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(chosen.shares[row][i], 2.5 * score(order[i]) / sum, 1e-6);
  }
}

TEST_F(Router, GroupsAreJudgedByTheirBestExperts) {
  // Groups of three. By the best expert, groups 0 and 3 win; by the best two together, 1 and 2.
  const std::vector<float> logits{5, 0, 0, 4, 4, 0, 4, 3.9F, 0, 4.5F, -3, 0};
  const nlohmann::json groups{{"scoring", "sigmoid"}, {"groups", 4}, {"groups_used", 2}};
  const auto sorted = [&](const nlohmann::json& patch) {
    nlohmann::json all = groups;
    all.merge_patch(patch);
    auto experts = run(*read(all), logits).experts[0];
    std::ranges::sort(experts);
    return experts;
  };
  EXPECT_EQ(sorted({{"group_best", 1}}), (std::vector<int32_t>{0, 1, 2, 9}));
  EXPECT_EQ(sorted({{"group_best", 2}}), (std::vector<int32_t>{3, 4, 6, 7}));
}

TEST_F(Router, NoExpertIsChosenTwice) {
  std::vector<float> logits(3 * kExperts, std::nanf(""));
  for (size_t i = 0; i < kExperts; ++i) logits[kExperts + i] = 1;
  logits[2 * kExperts + 5] = 1;  // the only number of its row
  for (const nlohmann::json& patch :
       {nlohmann::json::object(), nlohmann::json{{"scoring", "sigmoid"}},
        nlohmann::json{{"scoring", "sigmoid"}, {"groups", 4}, {"groups_used", 2}, {"group_best", 2}}}) {
    const Chosen chosen = run(*read(patch), logits);
    for (const auto& experts : chosen.experts) {
      EXPECT_EQ(std::set<int32_t>(experts.begin(), experts.end()).size(), experts.size()) << patch;
    }
    for (const float share : chosen.shares[0]) EXPECT_TRUE(std::isnan(share));
  }
  EXPECT_EQ(run(*read(), logits).experts[1], (std::vector<int32_t>{0, 1, 2, 3}));
}

TEST_F(Router, SharesThatVanishAreNotDividedByZero) {
  const std::vector<float> logits(kExperts, -200.0F);
  const Chosen chosen = run(*read({{"scoring", "sigmoid"}, {"normalize", true}}), logits);
  for (const float share : chosen.shares[0]) EXPECT_TRUE(std::isfinite(share));
}

TEST_F(Router, ImpossibleRoutersAreRefused) {
  const auto message = [&](const nlohmann::json& patch) { return read(patch).error().text(); };
  EXPECT_EQ(message({{"used", 13}}), "mlp: 13 of 12 experts per token; at most all expected");
  EXPECT_EQ(message({{"groups", 5}}), "mlp: 12 experts in 5 groups, 5 of them used; groups of one size expected");
  EXPECT_EQ(message({{"groups", 4}, {"groups_used", 1}}),
            "mlp: 4 experts per token from 1 groups of 3 that are judged by 1; at most as many as there are expected");
  EXPECT_EQ(message({{"scoring", "tanh"}}), "mlp: scoring \"tanh\" is unknown; softmax or sigmoid expected");
}

}  // namespace
}  // namespace lamina::layers
