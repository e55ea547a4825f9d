// States of earlier tokens that are woven into later ones: what is computed, and that it depends on nobody else.
#include "run/reweaving.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "run/model_runs.h"

namespace lamina::run {
namespace {

using Rows = std::vector<std::vector<double>>;

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// The definition, in float64 and without places: kept rows by the number of their token.
Rows woven(const recipe::ReweavePlan& plan, const Rows& rows) {
  const double hidden = static_cast<double>(rows.front().size());
  Rows units;
  std::vector<size_t> kept;
  Rows out;
  for (size_t t = 0; t < rows.size(); ++t) {
    const double length = std::sqrt(dot(rows[t], rows[t]) / hidden);
    units.push_back(rows[t]);
    for (double& x : units[t]) x /= length;
    out.push_back(rows[t]);
    size_t like = 0;  // in `kept`
    std::vector<double> cosines;
    for (const size_t k : kept) cosines.push_back(dot(units[t], units[k]) / hidden);
    if (!kept.empty()) {
      like = static_cast<size_t>(std::ranges::max_element(cosines) - cosines.begin());
      double total = 0;
      for (const double cosine : cosines) total += std::exp(plan.sharpness * cosine);
      for (size_t i = 0; i < rows[t].size(); ++i) {
        double mean = 0;
        for (size_t k = 0; k < kept.size(); ++k)
          mean += std::exp(plan.sharpness * cosines[k]) / total * units[kept[k] + (plan.next ? 1 : 0)][i];
        out[t][i] = (1 - plan.weight) * rows[t][i] + plan.weight * length * mean;
      }
    }
    if (static_cast<int>(kept.size()) < plan.keep) {
      kept.push_back(t);
    } else {
      kept[like] = t;
    }
  }
  return out;
}

Rows random_rows(size_t count, size_t hidden) {
  std::mt19937 random(11);
  std::normal_distribution<double> normal(0.3, 2);
  Rows rows(count, std::vector<double>(hidden));
  for (auto& row : rows) {
    for (double& x : row) x = double{static_cast<float>(normal(random))};
  }
  return rows;
}

std::vector<float> flat(const Rows& rows) {
  std::vector<float> out;
  for (const auto& row : rows) out.insert(out.end(), row.begin(), row.end());
  return out;
}

/// In calls of that many rows.
std::vector<float> run_in_pieces(const recipe::ReweavePlan& plan, std::vector<float> rows, size_t hidden,
                                 size_t piece) {
  const auto size = static_cast<int64_t>(hidden);
  std::vector<float> state(static_cast<size_t>(reweave_state_floats(plan, size)));
  std::vector<float> scratch(static_cast<size_t>(reweave_scratch_bytes(plan, size)) / sizeof(float), std::nanf(""));
  for (size_t at = 0; at < rows.size(); at += piece * hidden) {
    const size_t some = std::min(piece * hidden, rows.size() - at);
    reweave_rows(plan, std::span(rows).subspan(at, some), size, state.data(), scratch.data());
  }
  return rows;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST(Reweaving, IsTheDefinition) {
  const Rows rows = random_rows(40, 37);
  for (const bool next : {false, true}) {
    for (const int keep : {1, 5, 64}) {
      const recipe::ReweavePlan plan{.layers = {0}, .weight = 0.25, .keep = keep, .sharpness = 6, .next = next};
      const std::vector<float> wanted = flat(woven(plan, rows));
      const std::vector<float> found = run_in_pieces(plan, flat(rows), 37, 40);
      for (size_t i = 0; i < wanted.size(); ++i)
        ASSERT_NEAR(found[i], wanted[i], 1e-4) << next << " " << keep << " " << i;
      for (const size_t piece : {1, 7}) EXPECT_TRUE(same_bits(run_in_pieces(plan, flat(rows), 37, piece), found));
    }
  }
}

TEST(Reweaving, ZerosStayZeros) {
  const recipe::ReweavePlan plan{.layers = {0}, .weight = 0.5, .keep = 2};
  for (const float x : run_in_pieces(plan, std::vector<float>(5 * 20), 20, 5)) EXPECT_EQ(x, 0.0F);
}

constexpr int64_t kTokens = 60;

std::vector<int32_t> tokens_of(int64_t vocabulary, int64_t seed = 5) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < kTokens; ++i)
    tokens.push_back(static_cast<int32_t>((i * i * 7 + i * 31 + seed) % vocabulary));
  return tokens;
}

std::vector<float> logits(const std::string& name, const std::string& recipe, int threads,
                          const std::vector<int64_t>& pieces) {
  ModelRun run = ModelRun::open(golden_folder() / name / "model.gguf",
                                {.threads = threads, .max_rows = kTokens, .recipe = recipe});
  return run.logits(tokens_of(run.model->vocabulary()), pieces);
}

TEST(Reweaving, WithoutWeightChangesNoBitAndKeepsNothing) {
  const std::vector<float> plain = logits("untied", "", 1, {9});
  EXPECT_TRUE(same_bits(logits("untied", "decode:reweave(layers=0-1,weight=0)", 2, {9}), plain));
  EXPECT_FALSE(same_bits(logits("untied", "decode:reweave(layers=0-1,weight=0.01)", 2, {9}), plain));
  const ModelRun run =
      ModelRun::open(golden_folder() / "untied/model.gguf", {.recipe = "decode:reweave(layers=0,weight=0)"});
  for (const cache::VisitShape& visit : run.runner->cache_visits()) EXPECT_EQ(visit.state_floats, 0);
}

TEST(Reweaving, ActsAtTheBordersAfterItsLayers) {
  const auto streams = [](const std::string& recipe) {
    ModelRun run = ModelRun::open(golden_folder() / "gemma3/model.gguf",
                                  {.threads = 1, .max_rows = kTokens, .recipe = recipe + " kv:f32"});
    KeepStreams hook;
    run.runner->set_hook(&hook);
    run.logits(tokens_of(run.model->vocabulary()), {kTokens});
    return hook.streams;
  };
  const auto plain = streams("");
  const auto found = streams("decode:reweave(layers=1,weight=0.2,keep=7,by=next)");
  const recipe::ReweavePlan plan{.layers = {1}, .weight = 0.2, .keep = 7, .next = true};
  EXPECT_TRUE(same_bits(found[1], plain[1]));
  EXPECT_TRUE(same_bits(found[2], run_in_pieces(plan, plain[2], plain[2].size() / kTokens, kTokens)));
  EXPECT_FALSE(same_bits(found[3], plain[3]));
}

// Keys and windows; latents; states of their own; experts; a layer that the route visits twice.
TEST(Reweaving, ThreadsAndChunksChangeNothing) {
  for (const std::string name : {"gemma2", "deepseek_v2_lite", "lfm2", "qwen2moe"}) {
    const std::string recipe = "decode:reweave(layers=0-1,keep=9,by=next) route:0,1,1,0";
    const std::vector<float> wanted = logits(name, recipe, 1, {kTokens});
    EXPECT_TRUE(same_bits(logits(name, recipe, 2, {1}), wanted)) << name;
    EXPECT_TRUE(same_bits(logits(name, recipe, 2, {7, 30, 1}), wanted)) << name;
  }
}

/// Logits of each sequence's last token.
std::vector<float> step(ModelRun& run, const std::vector<std::pair<cache::SequenceId, std::vector<int32_t>>>& texts) {
  std::vector<BatchRow> rows;
  for (const auto& [sequence, tokens] : texts) {
    for (const int32_t token : tokens) rows.push_back({.token = token, .sequence = sequence});
    rows.back().wants_logits = true;
  }
  std::vector<float> out(texts.size() * static_cast<size_t>(run.model->vocabulary()));
  const auto status = run.runner->step(rows, out);
  EXPECT_TRUE(status) << status.error().text();
  return out;
}

TEST(Reweaving, ABatchIsAsEachAlone) {
  const auto open = [](int threads) {
    return ModelRun::open(
        golden_folder() / "untied/model.gguf",
        {.threads = threads, .sequences = 3, .max_rows = 3 * kTokens, .recipe = "decode:reweave(layers=0,keep=5)"});
  };
  ModelRun alone = open(1);
  ModelRun batch = open(2);
  std::vector<float> wanted;
  std::vector<std::pair<cache::SequenceId, std::vector<int32_t>>> texts;
  for (int64_t i = 0; i < 3; ++i) {
    const auto tokens = tokens_of(batch.model->vocabulary(), i);
    const auto sequence = alone.runner->open().value();
    const std::vector<float> one = step(alone, {{sequence, tokens}});
    alone.runner->close(sequence);
    wanted.insert(wanted.end(), one.begin(), one.end());
    texts.emplace_back(batch.runner->open().value(), tokens);
  }
  EXPECT_TRUE(same_bits(step(batch, texts), wanted));
}

// What is kept of a text goes with it: to a copy, and to texts that begin alike.
TEST(Reweaving, CopiesAndKeptTextsGoOnAsTheWhole) {
  ModelRun whole = ModelRun::open(golden_folder() / "untied/model.gguf",
                                  {.max_rows = kTokens, .recipe = "decode:reweave(layers=0-1,keep=6)"});
  RunnerOptions options = whole.runner->options();
  options.sequences = 3;
  options.keeps_texts = true;
  ModelRun run = std::move(whole);
  run.runner = Runner::create(*run.model, *run.pool, options).value();
  const std::vector<int32_t> tokens = tokens_of(run.model->vocabulary());
  const std::vector<int32_t> begin(tokens.begin(), tokens.begin() + 41);
  const std::vector<int32_t> rest(tokens.begin() + 41, tokens.end());
  const auto first = run.runner->open().value();
  const std::vector<float> wanted = step(run, {{first, tokens}});
  run.runner->close(first);
  const auto source = run.runner->open().value();
  step(run, {{source, begin}});
  const auto copy = run.runner->fork(source, std::ssize(begin)).value();
  ASSERT_EQ(run.runner->length(copy), std::ssize(begin));
  EXPECT_TRUE(same_bits(step(run, {{copy, rest}}), wanted));
  run.runner->keep(source, begin, "family", false);
  run.runner->close(source);
  const auto resumed = run.runner->open().value();
  ASSERT_EQ(run.runner->resume(resumed, tokens, "family"), std::ssize(begin));
  EXPECT_TRUE(same_bits(step(run, {{resumed, rest}}), wanted));
  EXPECT_EQ(run.runner->truncate(resumed, 50), 0) << "a part of it cannot be forgotten";
  EXPECT_TRUE(same_bits(step(run, {{resumed, tokens}}), wanted));
}

TEST(Reweaving, RefusesRowsThatReadAhead) {
  try {
    ModelRun::open(source_dir() / "tests/golden/encoders/bert", {.context = 24, .recipe = "decode:reweave(layers=0)"});
    FAIL();
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("read those after them as well"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace lamina::run
