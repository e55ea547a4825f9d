#include "models/expression.h"

#include <gtest/gtest.h>

namespace lamina::models {
namespace {

core::Result<nlohmann::json> lookup(const std::string& name) {
  if (name == "hidden") return nlohmann::json(576);
  if (name == "heads") return nlohmann::json(9);
  if (name == "layer") return nlohmann::json(5);
  if (name == "kind") return nlohmann::json("full");
  if (name == "list") return nlohmann::json{1, 5, 3};
  if (name == "nothing") return nlohmann::json();
  return core::fail(core::ErrorCode::kInvalid, name, "no such setting");
}

nlohmann::json value_of(std::string_view text) {
  const auto result = evaluate(text, lookup);
  EXPECT_TRUE(result) << (result ? "" : result.error().text());
  return result ? *result : nlohmann::json();
}

TEST(Expression, FollowsPrecedence) {
  EXPECT_EQ(value_of("hidden / heads"), 64.0);
  EXPECT_EQ(value_of("1 + 2 * 3 - 4 / 2"), 5.0);
  EXPECT_EQ(value_of("-(1 + 2) * 3"), -9.0);
  EXPECT_EQ(value_of("(layer + 1) % 6 == 0 ? 0 : 512"), 0.0);
  EXPECT_EQ(value_of("layer % 2 == 0 ? 'a' : layer > 3 && !false ? 'b' : 'c'"), "b");
  EXPECT_EQ(value_of("kind == 'full'"), true);
  EXPECT_EQ(value_of("1 / sqrt(hidden / heads)"), 0.125);
  EXPECT_EQ(value_of("min(3, max(1, 2))"), 2.0);
}

TEST(Expression, FindsValuesInLists) {
  EXPECT_EQ(value_of("contains(list, layer)"), true);
  EXPECT_EQ(value_of("contains(list, 2)"), false);
  EXPECT_EQ(value_of("!contains(nothing, 2)"), true);
  EXPECT_EQ(value_of("largest(list) == largest(largest(list))"), true);
  EXPECT_EQ(value_of("largest(heads)"), 9.0);
  EXPECT_EQ(value_of("largest(nothing) ?? 3"), 3.0);
  EXPECT_FALSE(evaluate("contains(list)", lookup));
  EXPECT_FALSE(evaluate("sqrt(list)", lookup));
}

TEST(Expression, LooksUpOnlyTheBranchThatIsTaken) {
  EXPECT_EQ(value_of("nothing ?? 7"), 7.0);
  EXPECT_EQ(value_of("heads ?? missing"), 9.0);
  EXPECT_EQ(value_of("true || missing"), true);
  EXPECT_EQ(value_of("true ? 1 : missing + 1"), 1.0);
  EXPECT_FALSE(evaluate("missing", lookup));
}

TEST(Expression, ErrorsNameTheCharacter) {
  for (const char* text :
       {"", "1 +", "(1", "1 2", "'a", "1 / 0", "sqrt(0 - 1)", "sqrt()", "f(1)", "'a' + 1", "a ? 1", "#"}) {
    EXPECT_FALSE(evaluate(text, lookup)) << text;
  }
  const auto result = evaluate("1 + #", lookup);
  EXPECT_NE(result.error().text().find("character 5"), std::string::npos) << result.error().text();
  EXPECT_FALSE(evaluate(std::string(1000, '('), lookup));
  EXPECT_FALSE(evaluate(std::string(1000, '-') + "1", lookup));
}

}  // namespace
}  // namespace lamina::models
