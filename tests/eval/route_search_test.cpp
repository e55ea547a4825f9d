#include "eval/route_search.h"

#include <gtest/gtest.h>

#include <numeric>
#include <set>
#include <string>

namespace lamina::eval {
namespace {

/// A world in which layer 2 harms, layer 5 helps twice, and the others are needed or not.
core::Result<ChainScore> judge(const LayerCounts& counts) {
  double accuracy = 0.5;
  accuracy += counts[2] == 0 ? 0.2 : 0;
  accuracy += counts[5] == 2 ? 0.2 : 0;
  for (const size_t needed : {0, 1, 7}) accuracy -= counts[needed] == 0 ? 0.4 : 0;
  return ChainScore{.accuracy = std::max(0.0, accuracy), .nll = 2 - accuracy};
}

TEST(RouteSearch, FindsShorterAndBetterChains) {
  const RouteSearch found = search_routes(8, {.simulations = 400, .length_price = 0.05, .seed = 3}, judge).value();
  EXPECT_EQ(found.chains.front().counts, LayerCounts(8, 1));
  const Chain& best = found.best(0.05);
  EXPECT_EQ(best.counts[2], 0);
  EXPECT_GE(best.score.accuracy, 0.7);
  const Chain& shortest = found.shortest();
  EXPECT_LE(shortest.length(), 5);
  EXPECT_GE(shortest.score.accuracy, 0.5);
  std::set<std::string> different;
  for (const Chain& chain : found.chains) different.emplace(chain.counts.begin(), chain.counts.end());
  EXPECT_EQ(different.size(), found.chains.size());
}

TEST(RouteSearch, TheSameSeedSearchesTheSameWay) {
  const auto chains = [](uint64_t seed) {
    const RouteSearch found = search_routes(8, {.simulations = 50, .seed = seed}, judge).value();
    std::vector<LayerCounts> counts;
    for (const Chain& chain : found.chains) counts.push_back(chain.counts);
    return counts;
  };
  EXPECT_EQ(chains(1), chains(1));
  EXPECT_NE(chains(1), chains(2));
}

TEST(RouteSearch, AnErrorEndsIt) {
  int calls = 0;
  const auto found = search_routes(4, {}, [&](const LayerCounts& counts) -> core::Result<ChainScore> {
    if (++calls == 3) return core::fail(core::ErrorCode::kLimit, "test", "enough");
    return judge({counts[0], counts[1], counts[2], counts[3], 1, 1, 1, 1});
  });
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().message, "enough");
}

TEST(RouteSearch, ChainsKeepToTheRoute) {
  const std::vector<recipe::Visit> route{{.layer = 3}, {.layer = 1, .attention = false}, {.layer = 0}};
  const std::vector<recipe::Visit> wanted{{.layer = 3}, {.layer = 3}, {.layer = 0}};
  EXPECT_EQ(visits_of({2, 0, 1}, route), wanted);
}

}  // namespace
}  // namespace lamina::eval
