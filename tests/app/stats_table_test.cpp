// What `lamina show --stats` prints of attention and experts.
#include "lamina/stats_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lamina::app {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

stats::Statistics two_heads() {
  stats::Statistics statistics;
  stats::AttentionStats& layer = statistics.attention.emplace_back();
  layer.layer = 3;
  layer.rows = 4;
  layer.heads.resize(2);
  layer.heads[0].entropy = 2;
  layer.heads[0].positions[0] = 3;
  layer.heads[0].distances[0] = 1;
  layer.heads[0].distances[5] = 2;
  layer.heads[0].distances[6] = 1;
  layer.heads[1].entropy = 6;
  layer.heads[1].sink = 4;
  return statistics;
}

TEST(StatsTable, AttentionIsAMeanAndARangeByLayerOrARowByHead) {
  const std::string layers = attention_text(two_heads(), false);
  EXPECT_THAT(layers, HasSubstr("LAST 32"));
  EXPECT_THAT(layers, HasSubstr("1.00 (0.50-1.50)  0.38 (0.00-0.75)  0.38 (0.00-0.75)  0.50 (0.00-1.00)"));
  const std::string heads = attention_text(two_heads(), true);
  EXPECT_THAT(heads, HasSubstr("1.50"));
  EXPECT_THAT(heads, Not(HasSubstr("(")));
  EXPECT_EQ(std::ranges::count(heads, '\n'), 3);
  EXPECT_EQ(attention_text({}, false), "");
}

TEST(StatsTable, AttentionAsJsonTellsOfEachHead) {
  const nlohmann::ordered_json layers = attention_json(two_heads());
  ASSERT_EQ(layers.size(), 1U);
  EXPECT_EQ(layers[0]["layer"], 3);
  const nlohmann::ordered_json& head = layers[0]["heads"][0];
  EXPECT_EQ(head["entropy"], 0.5);
  EXPECT_EQ(head["first"], 0.75);
  EXPECT_EQ(head["recent"], 0.75);
  EXPECT_EQ(head["positions"].size(), 1U);
  EXPECT_EQ(head["distances"].size(), 7U);
}

stats::Statistics three_experts() {
  stats::Statistics statistics;
  // Ten tokens, two experts each: 0 and 1 six times, 0 and 2 four times.
  statistics.experts.push_back({.layer = 1, .rows = 10, .shares = {6, 3, 1}, .together = {10, 6, 6, 4, 0, 4}});
  return statistics;
}

TEST(StatsTable, ExpertsAreThoseOfMostAndFewestTokensAndTheCommonestPair) {
  const std::string layers = experts_text(three_experts(), false);
  EXPECT_THAT(layers, HasSubstr("0: 100.0 %"));
  EXPECT_THAT(layers, HasSubstr("60.0 %"));
  EXPECT_THAT(layers, HasSubstr("2: 40.0 %"));
  EXPECT_THAT(layers, HasSubstr("0 and 1: 60.0 %"));
  const std::string experts = experts_text(three_experts(), true);
  EXPECT_EQ(std::ranges::count(experts, '\n'), 4);
  EXPECT_THAT(experts, HasSubstr("0: 100.0 %")) << "whenever 2 is chosen, so is 0";
  EXPECT_EQ(experts_text({}, true), "");
}

TEST(StatsTable, ExpertsAsJsonHaveTheTriangle) {
  const nlohmann::ordered_json layers = experts_json(three_experts());
  EXPECT_THAT(layers[0]["counts"], ElementsAre(10, 6, 4));
  EXPECT_EQ(layers[0]["together"].dump(), "[[],[6],[4,0]]");
}

}  // namespace
}  // namespace lamina::app
