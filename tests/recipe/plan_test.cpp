#include "recipe/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "recipe/technique.h"

namespace lamina::recipe {
namespace {

using testing::HasSubstr;

core::Result<RunPlan> planned(std::string_view source, const ModelFacts& facts = {.layers = 4}) {
  auto recipe = parse(source);
  EXPECT_TRUE(recipe) << source << ": " << recipe.error().text();
  return plan(recipe.value_or(Recipe{}), facts);
}

std::vector<Visit> visits(std::initializer_list<int> layers) {
  std::vector<Visit> result;
  for (const int layer : layers) result.push_back({.layer = layer});
  return result;
}

std::vector<Visit> route_of(std::string_view source, const ModelFacts& facts = {.layers = 4}) {
  const auto result = planned(source, facts);
  EXPECT_TRUE(result) << source << ": " << result.error().text();
  return result ? result->route : std::vector<Visit>{};
}

TEST(RecipePlan, NothingIsEveryLayerOnce) {
  const auto result = planned("");
  ASSERT_TRUE(result);
  EXPECT_EQ(result->route, visits({0, 1, 2, 3}));
  EXPECT_EQ(result->kv_format, "f16");
}

TEST(RecipePlan, RoutesSkipRepeatAndReorder) {
  EXPECT_EQ(route_of("route:0-1,1,3"), visits({0, 1, 1, 3}));
  EXPECT_EQ(route_of("route:2-"), visits({2, 3}));
  EXPECT_EQ(route_of("route:3,0-"), visits({3, 0, 1, 2, 3}));
  EXPECT_EQ(route_of("route:list(layers=0,2)"), visits({0, 2}));
}

TEST(RecipePlan, RoutesRunLayersSideBySide) {
  EXPECT_EQ(route_of("route:0,(1|3|0),2"),
            (std::vector<Visit>{{0}, {1}, {.layer = 3, .beside = true}, {.layer = 0, .beside = true}, {2}}));
  EXPECT_EQ(print(*parse("route:0-1,(1|3),2-")), "route:0-1,(1|3),2-");
  // What is left of layers side by side stays so, and does not join those before.
  EXPECT_EQ(route_of("route:0,(1|2|3) L1:drop"), (std::vector<Visit>{{0}, {2}, {.layer = 3, .beside = true}}));
  EXPECT_EQ(route_of("route:0,(1|2),3 L1-2:drop"), visits({0, 3}));
  EXPECT_EQ(route_text(route_of("route:0-2,(1|3|0),2,3,1 L1.attn:drop")), "0,1.mlp,2,(1.mlp|3|0),2-3,1.mlp");
  for (const auto& [source, message] : {std::pair{"route:(1)", "'|' and another layer expected"},
                                        {"route:(1|2", "found the end; '|' or ')' expected"},
                                        {"route:(1-2|3)", "'|' and another layer expected"},
                                        {"L(1|2):drop", "a layer's number or '*'"}}) {
    const auto recipe = parse(source);
    ASSERT_FALSE(recipe) << source;
    EXPECT_THAT(recipe.error().message, HasSubstr(message)) << source;
  }
}

TEST(RecipePlan, SkipsAsManyLayersAsASpeedupAsksFor) {
  EXPECT_EQ(route_of("route:skip(unified,speedup=1)"), visits({0, 1, 2, 3}));
  EXPECT_EQ(route_of("route:skip(unified,speedup=1.3)"), visits({0, 2, 3}));
  EXPECT_EQ(route_of("route:skip(unified,speedup=2)"), visits({0, 3}));
  EXPECT_EQ(route_of("route:skip(unified,speedup=9)"), visits({0}));
  EXPECT_EQ(route_of("route:skip(unified,speedup=1.5)", {.layers = 30}),
            visits({0, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18, 20, 21, 23, 24, 26, 27, 29}));
}

TEST(RecipePlan, ExitsAreLookedForAtEvenDistances) {
  const ExitPlan plan = *planned("route:exit(confidence=0.9)", {.layers = 12})->exit;
  EXPECT_EQ(plan.confidence, 0.9);
  EXPECT_FALSE(plan.by_stream);
  std::vector<bool> checks(12);
  checks[6] = checks[10] = true;
  EXPECT_EQ(plan.checks, checks);
  const auto dropped = planned("route:0-,1+exit(confidence=1,by=stream,from=0,every=2) L1:drop");
  EXPECT_TRUE(dropped->exit->by_stream);
  EXPECT_EQ(dropped->route, visits({0, 2, 3}));
  EXPECT_EQ(dropped->exit->checks, (std::vector<bool>{true, false, false}));
}

TEST(RecipePlan, DraftsLeaveOutWhatTheyAreTold) {
  const DraftPlan ngram = *planned("draft:ngram(tokens=5,match=3,when=always)")->draft;
  EXPECT_EQ(ngram, (DraftPlan{.source = DraftPlan::Source::kNgram, .tokens = 5, .match = 3, .always = true}));
  const DraftPlan own = *planned("draft:route(skip=1-2,mlp=3) route:0-3,1,0")->draft;
  EXPECT_EQ(own.route, (std::vector<Visit>{{0}, {3, true, false}, {0}}));
  EXPECT_EQ(own.confidence, 0.4);
  EXPECT_EQ(planned("draft:route(1,2)")->draft->route, visits({0, 3}));
  EXPECT_EQ(planned("draft:model(\"a b\",confidence=0)")->draft->model, "a b");
  EXPECT_FALSE(planned("")->draft);
  const auto recurrent = planned("draft:ngram", {.layers = 4, .recurrent = true});
  ASSERT_FALSE(recurrent);
  EXPECT_THAT(recurrent.error().message, HasSubstr("ngram needs a cache without recurrent states"));
}

TEST(RecipePlan, DropsLayersAndSublayersInEveryVisit) {
  EXPECT_EQ(route_of("L1,3:drop"), visits({0, 2}));
  EXPECT_EQ(route_of("L1.attn:drop"), (std::vector<Visit>{{0}, {1, false, true}, {2}, {3}}));
  EXPECT_EQ(route_of("L2-.mlp:drop"), (std::vector<Visit>{{0}, {1}, {2, true, false}, {3, true, false}}));
  EXPECT_EQ(route_of("L1.attn:drop L1.mlp:drop"), visits({0, 2, 3}));
  EXPECT_EQ(route_of("L1.attn:drop route:0,1,1"), (std::vector<Visit>{{0}, {1, false, true}, {1, false, true}}));
}

TEST(RecipePlan, ChoicesByStatisticsAreMadeInFiles) {
  EXPECT_EQ(route_of("L1:drop(count=0)"), visits({0, 2, 3}));
  const auto refused = planned("L*.attn:drop(count=2)");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, core::ErrorCode::kUnsupported);
  EXPECT_THAT(refused.error().message, HasSubstr("lamina compress --stats"));
}

TEST(RecipePlan, TellsWhatSharesOfInputsTakePart) {
  const auto result = planned("L2-.mlp:rsparse L0-1.mlp:rsparse(share=0.25)+q8_0 L*.attn:rsparse(1)");
  ASSERT_TRUE(result) << result.error().text();
  ASSERT_EQ(result->shares.size(), 3U);
  EXPECT_EQ(print(result->shares[0].where), "L*.attn");
  EXPECT_EQ(result->shares[0].share, 1);
  EXPECT_EQ(result->shares[1].share, 0.25);
  EXPECT_EQ(result->shares[2].share, 0.5);
  EXPECT_THAT(planned("L3-9.mlp:rsparse").error().text(), HasSubstr("layer 9: the model has 4 layers"));
  EXPECT_THAT(planned("L*:rsparse(share=0)").error().text(), HasSubstr("share"));
}

TEST(RecipePlan, LayersWithOnePartKeepToIt) {
  const ModelFacts facts{.layers = 3, .sublayers = {{true, true}, {true, false}, {false, true}}};
  EXPECT_EQ(route_of("", facts), (std::vector<Visit>{{0}, {1, true, false}, {2, false, true}}));
  EXPECT_EQ(route_of("L*.attn:drop", facts), (std::vector<Visit>{{0, false, true}, {2, false, true}}));
  const auto result = planned("L1.mlp:drop", facts);
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr("removes nothing"));
}

TEST(RecipePlan, DropsCrossAttentionWhereThereIsSome) {
  const ModelFacts facts{.layers = 2, .sublayers = {{.cross = true}, {}}};
  const std::vector<Visit> wanted{{.layer = 0, .cross = false}, {.layer = 1}};
  EXPECT_EQ(planned("L0.cross:drop", facts)->route, wanted);
  EXPECT_TRUE(planned("", facts)->route[0].cross);
  EXPECT_FALSE(planned("L0:drop", facts)->route[0].cross);
  EXPECT_EQ(planned("L0.attn:drop L0.mlp:drop", facts)->route.size(), 2U);
  EXPECT_THAT(planned("L1.cross:drop", facts).error().message, HasSubstr("removes nothing"));
  EXPECT_THAT(parse("E0.attn:drop").error().message, HasSubstr("found 'E0'; a layer selector"));
}

TEST(RecipePlan, ChoosesTheCacheFormat) {
  EXPECT_EQ(planned("")->kv_format, "f16");
  for (const std::string_view format : {"f32", "f16", "bf16", "q8_0"}) {
    EXPECT_EQ(planned("kv:" + std::string(format))->kv_format, format);
  }
}

struct Refused {
  std::string_view source;
  std::string_view place;
  std::string_view message;
};

TEST(RecipePlan, RefusesWithPlaceAndReason) {
  for (const Refused& refused : {
           Refused{"route:0-4", "recipe, character 7", "layer 4: the model has 4 layers, 0 to 3"},
           Refused{"route:0,1,7-", "recipe, character 11", "layer 7: the model has 4"},
           Refused{"kv:f16 L0,9:drop", "recipe, character 11", "layer 9: the model has 4"},
           Refused{"L*:drop", "recipe", "no layer is left"},
           Refused{"route:0 L0.attn:drop L0.mlp:drop", "recipe", "no layer is left"},
           Refused{"route:0-1 L3:drop", "recipe, character 11", "removes nothing"},
           Refused{"L1,0-2:drop", "recipe, character 4", "layer 1 is named twice"},
           Refused{"L0-,3:drop", "recipe, character 5", "layer 3 is named twice"},
           Refused{"L1:drop+drop", "recipe, character 9", "drop is given twice"},
           Refused{"L1:drop L0-2.attn:drop", "recipe, character 19", "already acts on some of these layers"},
           Refused{"L1.q_proj:drop", "recipe, character 4",
                   "drop cannot act on .q_proj; it acts on a whole layer, .attn"},
           Refused{"L1:dorp", "recipe, character 4", "unknown technique 'dorp' at L...; known here: drop"},
           Refused{"kv:drop", "recipe, character 4", "it acts at L...; known here: f16, f32, bf16, q8_0"},
           Refused{"kv:f8", "recipe, character 4", "known here: f16, f32, bf16, q8_0"},
           Refused{"prefill:route(skip=1)", "recipe, character 9",
                   "places with techniques: L..., route, kv, decode, draft"},
           Refused{"route:0,(9|1)", "recipe, character 10", "layer 9: the model has 4 layers"},
           Refused{"route:0-1+skip(unified,speedup=2)", "recipe, character 11", "both choose the layers"},
           Refused{"route:skip(unified)", "recipe, character 7", "parameter speedup"},
           Refused{"route:skip(even,speedup=2)", "recipe, character 12", "one of unified expected"},
           Refused{"route:skip(unified,speedup=0.5)", "recipe, character 20", "1 to 64 expected"},
           Refused{"route:exit(confidence=0.9,from=3)", "recipe, character 7",
                   "exit from visit 3 on leaves nothing out of a route of 4 visits"},
           Refused{"route:(0|1),2,3+exit(confidence=0.9)", "recipe, character 17",
                   "exit does not go with layers side by side"},
           Refused{"decode:lfd(layer=3)", "recipe, character 8", "after layer 3, with which the route ends"},
           Refused{"decode:lfd(layer=1) route:0,2-3", "recipe, character 8", "layer 1, which the route does not visit"},
           Refused{"decode:lfd(layer=1) route:0,(1|2),3", "recipe, character 8", "runs side by side with others"},
           Refused{"decode:lfd", "recipe, character 8", "parameter layer"},
           Refused{"decode:reweave(layers=1) route:0,2-3", "recipe, character 8",
                   "after layer 1, which the route does not visit"},
           Refused{"decode:reweave(layers=0-2) route:0,(1|2),3", "recipe, character 8",
                   "runs side by side with others"},
           Refused{"decode:reweave(layers=3-4)", "recipe, character 23", "layer 4: the model has 4 layers"},
           Refused{"decode:reweave", "recipe, character 8", "parameter layers"},
           Refused{"decode:reweave(layers=0,weight=1.5)", "recipe, character 25", "0 to 1 expected"},
           Refused{"decode:reweave(layers=0) draft:ngram", "recipe, character 32", "cannot be set back by some tokens"},
           Refused{"draft:ngram+route(skip=1)", "recipe, character 13", "one draft at a time"},
           Refused{"draft:ngram(tokens=65)", "recipe, character 13", "1 to 64 expected"},
           Refused{"draft:route", "recipe, character 7", "route leaves nothing out"},
           Refused{"draft:route(skip=2) L2:drop", "recipe, character 7", "route leaves nothing out"},
           Refused{"draft:route(skip=0-)", "recipe, character 7", "no layer is left to guess with"},
           Refused{"draft:route(skip=4)", "recipe, character 13", "layer 4: the model has 4 layers"},
           Refused{"draft:model", "recipe, character 7", "parameter model"},
           Refused{"kv:f16+f32", "recipe, character 8", "f32 does not go with f16: a cache has one number format"},
           Refused{"kv:f32+f16", "recipe, character 8", "f16 does not go with f32"},
           Refused{"kv:q8_0+bf16", "recipe, character 9", "bf16 does not go with q8_0: a cache has one number format"},
           Refused{"kv:f16 kv:f16", "recipe, character 8", "kv is already set at character 1"},
           Refused{"route:0 route:1", "recipe, character 9", "route is already set"},
           Refused{"kv:f16(1)", "recipe, character 8", "f16 has no parameter for '1'; its parameters: none"},
           Refused{"route:list(a=1)", "recipe, character 12", "list has no parameter for 'a'; its parameters: layers"},
           Refused{"route:list(x)", "recipe, character 12", "list: parameter layers is x; layers expected"},
           Refused{"route:list(-1)", "recipe, character 12", "list: parameter layers is -1; layers expected"},
           Refused{"route:list(70000)", "recipe, character 12", "list: parameter layers is 70000"},
           Refused{"route:list", "recipe, character 7", "list: parameter layers"},
           Refused{"route:list(1,layers=2)", "recipe, character 14",
                   "parameter layers is already given at character 12"},
           Refused{"route:list(layers=1,layers=2)", "recipe, character 21", "already given at character 12"},
       }) {
    const auto result = planned(refused.source);
    ASSERT_FALSE(result) << refused.source;
    EXPECT_EQ(result.error().place, refused.place) << refused.source << ": " << result.error().text();
    EXPECT_THAT(result.error().message, HasSubstr(refused.message)) << refused.source;
  }
}

TEST(RecipePlan, RefusesLongRoutesAndModelsWithoutTheNeed) {
  std::string source = "route:0-3";
  for (int i = 1; i < 1024; ++i) source += ",0-3";
  EXPECT_EQ(route_of(source).size(), kMaxRoute);
  const auto longer = planned(source + ",0");
  ASSERT_FALSE(longer);
  EXPECT_EQ(longer.error().code, core::ErrorCode::kLimit);

  const auto encoder = planned("kv:f16", {.layers = 4, .key_value_cache = false});
  ASSERT_FALSE(encoder);
  EXPECT_EQ(encoder.error().code, core::ErrorCode::kUnsupported);
  EXPECT_THAT(encoder.error().message, HasSubstr("f16 needs a key-value cache"));
  EXPECT_FALSE(plan({}, {.layers = 0}));
  EXPECT_FALSE(plan({}, {.layers = -1}));
  EXPECT_FALSE(plan({}, {.layers = 2, .sublayers = {{}}}));
}

TEST(RecipePlan, SelectsAgreesWithTheSelector) {
  const Where where = parse("L1,4-5,8-:x")->clauses[0].where;
  std::vector<int> selected;
  for (int layer = -1; layer < 12; ++layer) {
    if (selects(where, layer, 10)) selected.push_back(layer);
  }
  EXPECT_EQ(selected, (std::vector<int>{1, 4, 5, 8, 9}));
}

// The table itself, and every pair of its rows.

TEST(Techniques, RowsAreCompleteAndInOrder) {
  std::set<std::pair<Place, std::string_view>> names;
  Place previous = Place::kWeights;
  for (const Technique& technique : techniques()) {
    EXPECT_TRUE(names.emplace(technique.place, technique.name).second) << technique.name;
    EXPECT_GE(technique.place, previous);
    previous = technique.place;
    EXPECT_FALSE(technique.summary.empty());
    EXPECT_EQ(find_technique(technique.place, technique.name), &technique);
    for (const Parameter& parameter : technique.parameters) {
      EXPECT_FALSE(parameter.name.empty());
      EXPECT_FALSE(parameter.doc.empty());
      EXPECT_LE(parameter.minimum, parameter.maximum);
    }
    for (const Conflict& conflict : technique.conflicts) {
      EXPECT_NE(find_technique(conflict.place, conflict.technique), nullptr) << technique.name;
      EXPECT_FALSE(conflict.reason.empty());
    }
    EXPECT_EQ(find_technique(Place::kPrefill, technique.name), nullptr);
  }
}

TEST(Techniques, EveryRowActsAlone) {
  const RunPlan plain = *planned("");
  for (const Technique& technique : techniques()) {
    const auto recipe = parse(technique.example);
    ASSERT_TRUE(recipe) << technique.example;
    ASSERT_EQ(recipe->clauses.size(), 1U);
    EXPECT_EQ(recipe->clauses[0].where.place, technique.place);
    EXPECT_EQ(recipe->clauses[0].steps[0].technique, technique.name);
    EXPECT_EQ(print(*recipe), technique.example);
    const auto result = planned(technique.example);
    if (technique.writes) {
      ASSERT_FALSE(result) << technique.example;
      EXPECT_THAT(result.error().message, HasSubstr("carries it out"));
      continue;
    }
    ASSERT_TRUE(result) << technique.example << ": " << result.error().text();
    if (technique.effect != Effect::kExact) {
      EXPECT_NE(*result, plain) << technique.name;
    }
    EXPECT_TRUE(planned(technique.example, {.layers = 2})) << technique.example;
  }
}

TEST(Techniques, EveryPairPlansOrIsRefusedForAReason) {
  for (const Technique& a : techniques()) {
    for (const Technique& b : techniques()) {
      const std::string apart = fmt::format("{} {}", a.example, b.example);
      const bool same_place = a.place == b.place;
      const bool conflict = !conflict_reason(a, b).empty() || a.writes || b.writes;
      const auto result = planned(apart);
      // Weights may be left out and stored in some format at once.
      const bool together = !same_place || (a.place == Place::kWeights && &a != &b);
      EXPECT_EQ(result.has_value(), together && !conflict) << apart;
      if (!result) {
        EXPECT_THAT(result.error().place, HasSubstr("recipe, character ")) << apart;
        EXPECT_GT(result.error().message.size(), 20U) << apart;
      }
      if (same_place) {
        const std::string_view step = b.example.substr(b.example.find(':') + 1);
        std::string joined = fmt::format("{}+{}", a.example, step);
        if (joined.starts_with("L*")) joined[1] = '1';  // to drop all layers would leave none
        EXPECT_EQ(planned(joined).has_value(), &a != &b && !conflict) << joined;
      } else if (result) {
        EXPECT_EQ(*planned(fmt::format("{} {}", b.example, a.example)), *result) << "the order of clauses mattered";
      }
    }
  }
}

}  // namespace
}  // namespace lamina::recipe
