// Every technique and every pair of techniques on a tiny model: what the table declares of them holds.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "eval/metrics.h"
#include "recipe/technique.h"
#include "run/model_runs.h"
#include "run/plan_recipe.h"

namespace lamina::eval {
namespace {

using recipe::Effect;
using recipe::Place;
using recipe::Technique;
using run::BatchRow;

/// What became of pairs, by what their techniques declare.
struct Counts {
  int exact = 0;
  int bounded = 0;
  int lossy = 0;
  int refused = 0;
  int declined = 0;  ///< allowed by the table, refused for this model or this kind of run
};

/// One model that runs under many recipes.
class Tiny {
 public:
  Tiny() : tokens_(24) {
    std::iota(tokens_.begin(), tokens_.end(), 40);
    plain_ = logits("").value();
  }

  const std::vector<float>& plain() const { return plain_; }

  /// Logits of the tokens under a recipe, or why it cannot be.
  core::Result<std::vector<float>> logits(const std::string& text) {
    LAMINA_ASSIGN(const recipe::Recipe parsed, recipe::parse(text));
    LAMINA_CHECK_OK(recipe::validate(parsed));
    LAMINA_ASSIGN(const auto model,
                  models::Model::build(run::golden_folder() / "qwen2/model.gguf", {.exact = true, .recipe = parsed}));
    LAMINA_ASSIGN(const recipe::RunPlan plan, run::plan_recipe(text, *model));
    LAMINA_CHECK_OK(model->load(pool_, {}));
    LAMINA_ASSIGN(const auto runner, run::Runner::create(*model, pool_, {.plan = plan, .context = 64, .max_rows = 64}));
    LAMINA_ASSIGN(const cache::SequenceId sequence, runner->open());
    std::vector<BatchRow> rows;
    for (const int32_t token : tokens_) rows.push_back({.token = token, .sequence = sequence, .wants_logits = true});
    std::vector<float> out(tokens_.size() * static_cast<size_t>(model->vocabulary()));
    LAMINA_CHECK_OK(runner->step(rows, out));
    return out;
  }

  /// Mean divergence from the plain run, in nats.
  double divergence(const std::vector<float>& logits) const {
    const size_t vocabulary = plain_.size() / tokens_.size();
    double sum = 0;
    for (size_t i = 0; i < tokens_.size(); ++i) {
      const auto row = [&](const std::vector<float>& all) {
        return std::span(all).subspan(i * vocabulary, vocabulary);
      };
      sum += kl_divergence(row(plain_), row(logits)).value();
    }
    return sum / static_cast<double>(tokens_.size());
  }

 private:
  core::ThreadPool pool_{1};
  std::vector<int32_t> tokens_;
  std::vector<float> plain_;
};

/// Both examples as one recipe: a place other than weights is written once.
std::string compose(const Technique& a, const Technique& b) {
  const std::string first(a.example);
  const std::string second(b.example);
  if (a.place != b.place || a.place == Place::kWeights) return first + " " + second;
  return first + "+" + second.substr(second.find(':') + 1);
}

/// Holds one recipe's run against the weaker of the effects that its techniques declare.
void hold(Tiny& tiny, const std::string& text, Effect effect, Counts& counts) {
  const auto logits = tiny.logits(text);
  if (!logits) {
    EXPECT_GT(logits.error().text().size(), 20U) << text << ": " << logits.error().text();
    ++counts.declined;
    return;
  }
  if (effect == Effect::kExact) {
    EXPECT_EQ(std::memcmp(logits->data(), tiny.plain().data(), logits->size() * sizeof(float)), 0) << text;
    ++counts.exact;
    return;
  }
  const double divergence = tiny.divergence(*logits);
  EXPECT_TRUE(std::isfinite(divergence)) << text;
  ++(effect == Effect::kBounded ? counts.bounded : counts.lossy);
}

TEST(TechniquePairs, EachHoldsItsContract) {
  Tiny tiny;
  Counts alone;
  Counts pairs;
  const auto all = recipe::techniques();
  for (size_t i = 0; i < all.size(); ++i) {
    hold(tiny, std::string(all[i].example), all[i].effect, alone);
    for (size_t j = i + 1; j < all.size(); ++j) {
      const std::string text = compose(all[i], all[j]);
      const std::string_view reason = recipe::conflict_reason(all[i], all[j]);
      if (reason.empty()) {
        hold(tiny, text, std::max(all[i].effect, all[j].effect), pairs);
        continue;
      }
      const auto parsed = recipe::parse(text);
      ASSERT_TRUE(parsed) << text;
      const auto valid = recipe::validate(*parsed);
      ASSERT_FALSE(valid) << text;
      EXPECT_NE(valid.error().text().find(reason), std::string::npos) << valid.error().text();
      ++pairs.refused;
    }
  }
  const auto tell = [](const char* what, const Counts& counts) {
    fmt::print("{}: {} exact, {} bounded, {} lossy, {} refused, {} not for this model or run\n", what, counts.exact,
               counts.bounded, counts.lossy, counts.refused, counts.declined);
  };
  tell("techniques", alone);
  tell("pairs of techniques", pairs);
  EXPECT_GT(pairs.lossy, 1000);
  EXPECT_GT(pairs.refused, 100);
}

}  // namespace
}  // namespace lamina::eval
