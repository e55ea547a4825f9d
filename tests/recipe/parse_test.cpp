#include <gtest/gtest.h>

#include <cmath>

#include "random_recipe.h"
#include "recipe/recipe.h"

namespace lamina::recipe {
namespace {

constexpr int kOpen = LayerRange::kOpen;

Recipe parsed(std::string_view source) {
  auto result = parse(source);
  EXPECT_TRUE(result) << source << ": " << result.error().text();
  return result.value_or(Recipe{});
}

TEST(RecipeParse, ReadsEveryExampleOfTheDesign) {
  for (const std::string_view source : {
           "L*:q4_k",
           "L0-3:q8_0 L4-29.mlp:q4_k",
           "L20,22,24.attn:drop",
           "L4-25.attn:svd(256)+q4_k",
           "route:0-11,12,12,13-29",
           "route:skip(unified,speedup=1.3)",
           "kv:window(1024,sink=4)+q8_0",
           "prefill:pbs(block=64,mass=0.95)",
           "decode:tidal(tokens=256,select=2,13)",
           "draft:route(skip=8-21)",
           "L4-.q_proj:svd(rank=64)",
           "head:early(exit=8-,bar=\"a \\\"b\\\"\",inner=route(skip=1))",
       }) {
    EXPECT_EQ(print(parsed(source)), source);
  }
}

TEST(RecipeParse, BuildsTheTree) {
  const Recipe recipe = parsed("L0-3,7,9-.mlp:svd(256,-1.5,how=x)+q4_k decode:tidal(tokens=256,select=2,13,last=4)");
  ASSERT_EQ(recipe.clauses.size(), 2U);
  const Clause& first = recipe.clauses[0];
  EXPECT_EQ(first.where.place, Place::kWeights);
  EXPECT_EQ(first.where.layers, (std::vector<LayerRange>{{0, 3, {}}, {7, 7, {}}, {9, kOpen, {}}}));
  EXPECT_EQ(first.where.part, "mlp");
  ASSERT_EQ(first.steps.size(), 2U);
  EXPECT_EQ(first.steps[0].technique, "svd");
  ASSERT_EQ(first.steps[0].arguments.size(), 3U);
  EXPECT_EQ(first.steps[0].arguments[0].value.integer, 256);
  EXPECT_EQ(first.steps[0].arguments[1].value.kind, Value::Kind::kNumber);
  EXPECT_EQ(first.steps[0].arguments[1].value.number, -1.5);
  EXPECT_EQ(first.steps[0].arguments[2].name, "how");
  EXPECT_EQ(first.steps[0].arguments[2].value.text, "x");
  EXPECT_EQ(first.steps[1].position.character, 35U);

  const Clause& second = recipe.clauses[1];
  EXPECT_EQ(second.where.place, Place::kDecode);
  EXPECT_EQ(second.where.position.character, 40U);
  const std::vector<Argument>& arguments = second.steps[0].arguments;
  ASSERT_EQ(arguments.size(), 3U);
  EXPECT_EQ(arguments[0].value.integer, 256);
  EXPECT_EQ(arguments[1].value.layers, (std::vector<LayerRange>{{2, 2, {}}, {13, 13, {}}}));
  EXPECT_EQ(arguments[2].value.integer, 4);
}

TEST(RecipeParse, AcceptsABareRouteAndItsNamedForm) {
  const Recipe bare = parsed("route:0-11,12,12,13-");
  ASSERT_EQ(bare.clauses[0].steps[0].arguments.size(), 4U);
  EXPECT_EQ(bare.clauses[0].steps[0].technique, "list");
  EXPECT_EQ(bare, parsed("route:list(0-11, 12, 12, 13-)"));
  EXPECT_EQ(print(parsed("route:list(0-11,12)")), "route:0-11,12");
}

TEST(RecipeParse, PrintsOneCanonicalForm) {
  EXPECT_EQ(print(parsed("  L0-:drop \n\t kv:f16  ")), "L*:drop kv:f16");
  EXPECT_EQ(print(parsed("L03-03:a( 1 , b = 2 , 3-3 )")), "L3:a(1,b=2,3)");
  EXPECT_EQ(print(parsed("kv:a()+b(x=c())")), "kv:a+b(x=c())");
  EXPECT_EQ(print(parsed("kv:a(1.0,2e3,-0.0,1e-7)")), "kv:a(1.0,2000.0,-0.0,1e-07)");
  EXPECT_EQ(print(parsed("")), "");
  EXPECT_EQ(print(parsed(" \n")), "");
  EXPECT_NE(parsed("kv:a(1)"), parsed("kv:a(1.0)"));
  EXPECT_NE(parsed("kv:a(b)"), parsed("kv:a(\"b\")"));
  EXPECT_NE(parsed("kv:a(b)"), parsed("kv:a(b())"));
}

struct Wrong {
  std::string_view source;
  size_t character;
  std::string_view found;
  std::string_view allowed;
};

TEST(RecipeParse, PointsAtTheWrongCharacter) {
  for (const Wrong& wrong : {
           Wrong{"L4-29:", 7, "the end", "a technique's name"},
           Wrong{"L4-29 :drop", 6, "' '", "':'"},
           Wrong{"L:drop", 2, "':'", "'*'"},
           Wrong{"Lx:drop", 1, "'Lx'", "layer selector"},
           Wrong{"L9-4:drop", 2, "9-4", "smaller layer first"},
           Wrong{"L1,:drop", 4, "':'", "a layer's number"},
           Wrong{"L1.:drop", 4, "':'", "attn, mlp, cross or a tensor's name"},
           Wrong{"L99999:drop", 2, "99999", "at most 65535"},
           Wrong{"L99999999999999999999:drop", 2, "99999999999999999999", "at most 65535"},
           Wrong{"kw:f16", 1, "'kw'", "route, kv, prefill"},
           Wrong{"kv:f16 weights:f16", 8, "'weights'", "route, kv, prefill"},
           Wrong{"kv f16", 3, "' '", "':'"},
           Wrong{"kv:f16+", 8, "the end", "a technique's name"},
           Wrong{"kv:f16;L*:drop", 7, "';'", "'+', a space or the end"},
           Wrong{"kv:0-3", 4, "'0'", "a technique's name"},
           Wrong{"route:+", 7, "'+'", "a list of layers"},
           Wrong{"kv:a(", 6, "the end", "a number, a word"},
           Wrong{"kv:a(1", 7, "the end", "',' or ')'"},
           Wrong{"kv:a(1,)", 8, "')'", "a number, a word"},
           Wrong{"kv:a(b=)", 8, "')'", "a number, a word"},
           Wrong{"kv:a(b=1,c)", 10, "'c'", "name=value"},
           Wrong{"kv:a(b=x,3)", 10, "'3'", "name=value"},
           Wrong{"kv:a(b=1,-3)", 10, "'-'", "name=value"},
           Wrong{"kv:a(1.)", 8, "')'", "a digit"},
           Wrong{"kv:a(1e+)", 9, "')'", "a digit"},
           Wrong{"kv:a(-x)", 7, "'x'", "a digit"},
           Wrong{"kv:a(4bit)", 7, "'b'", "',' or ')'"},
           Wrong{"kv:a(9223372036854775808)", 6, "9223372036854775808", "64-bit integer"},
           Wrong{"kv:a(1e999)", 6, "1e999", "double-precision"},
           Wrong{"kv:a(\"é層\",?)", 11, "'?'", "a number, a word"},
           Wrong{"kv:a(\"b", 8, "the end", "closing"},
           Wrong{"kv:a(\"\\q\")", 8, "'q'", "\\n"},
           Wrong{"kv:a(\"b\nc\")", 8, "0x0a", "closing"},
           Wrong{"kv:é", 4, "'é'", "a technique's name"},
           Wrong{std::string_view("kv:\0", 4), 4, "0x00", "a technique's name"},
           Wrong{"kv:a(1)(2)", 8, "'('", "'+', a space or the end"},
       }) {
    const auto result = parse(wrong.source);
    ASSERT_FALSE(result) << wrong.source;
    EXPECT_EQ(result.error().place, fmt::format("recipe, character {}", wrong.character)) << wrong.source;
    EXPECT_NE(result.error().message.find(wrong.found), std::string::npos) << result.error().text();
    EXPECT_NE(result.error().message.find(wrong.allowed), std::string::npos) << result.error().text();
  }
}

TEST(RecipeParse, RefusesWhatIsTooLong) {
  const auto code = [](const std::string& source) {
    const auto result = parse(source);
    return result ? core::ErrorCode::kCancelled : result.error().code;
  };
  const auto repeated = [](std::string_view text, size_t times) {
    std::string result;
    for (size_t i = 0; i < times; ++i) result += text;
    return result;
  };
  EXPECT_TRUE(parse(std::string(kMaxSourceBytes, ' ')));
  EXPECT_EQ(code(std::string(kMaxSourceBytes + 1, ' ')), core::ErrorCode::kLimit);
  EXPECT_TRUE(parse(repeated("kv:a ", kMaxClauses)));
  EXPECT_EQ(code(repeated("kv:a ", kMaxClauses + 1)), core::ErrorCode::kLimit);
  EXPECT_TRUE(parse("kv:a" + repeated("+a", kMaxSteps - 1)));
  EXPECT_EQ(code("kv:a" + repeated("+a", kMaxSteps)), core::ErrorCode::kLimit);
  EXPECT_TRUE(parse("kv:a(1" + repeated(",1", kMaxArguments - 1) + ")"));
  EXPECT_EQ(code("kv:a(1" + repeated(",1", kMaxArguments) + ")"), core::ErrorCode::kLimit);
  EXPECT_TRUE(parse("kv:a(x=1" + repeated(",1", kMaxArguments - 1) + ")"));
  EXPECT_EQ(code("kv:a(x=1" + repeated(",1", kMaxArguments) + ")"), core::ErrorCode::kLimit);
  EXPECT_EQ(code("route:1" + repeated(",1", kMaxArguments)), core::ErrorCode::kLimit);
  EXPECT_TRUE(parse("kv:" + repeated("a(", kMaxDepth - 1) + "b" + repeated(")", kMaxDepth - 1)));
  EXPECT_EQ(code("kv:" + repeated("a(", 3000) + repeated(")", 3000)), core::ErrorCode::kLimit);
}

TEST(RecipeParse, RefusesWhatIsNotUtf8) {
  for (const std::string_view bytes :
       {"\x80", "\xC0\x80", "\xE0\x80\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xC3"}) {
    const auto result = parse("kv:a(\"" + std::string(bytes) + "\")");
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().message, "byte 7 is not UTF-8");
  }
}

TEST(RecipePrint, RandomRecipesComeBackEqual) {
  for (uint32_t seed = 0; seed < 20000; ++seed) {
    const Recipe recipe = RandomRecipe(seed).recipe();
    const std::string text = print(recipe);
    const auto again = parse(text);
    ASSERT_TRUE(again) << text << "\n" << again.error().text();
    ASSERT_EQ(*again, recipe) << text;
    ASSERT_EQ(print(*again), text);
  }
}

}  // namespace
}  // namespace lamina::recipe
