// Scales of inputs that are folded into what makes them: the model must mean the same.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "compress/folded_models.h"

namespace lamina::compress {
namespace {

namespace fs = std::filesystem;
using app::TemporaryFolder;
using run::golden_folder;
using testing::HasSubstr;

struct Family {
  std::string name;
  std::string places;  ///< of all its layers, each once
};

void PrintTo(const Family& family, std::ostream* out) {
  *out << family.name;
}

class Scaled : public testing::TestWithParam<Family> {};

// Grouped heads, biases, norms less one, fused tensors, norms that two parts share, layer norms, experts and those that
// every token goes through.
TEST_P(Scaled, MeansTheSame) {
  const TemporaryFolder temporary;
  const fs::path golden = golden_folder() / GetParam().name;
  const fs::path model = golden_model(GetParam().name);
  const fs::path statistics = saved_statistics(model, temporary);
  const std::vector<float> wanted = outcome_of(model, golden);
  for (const std::string pass : {"L*:smooth(alpha=0.7)", "L*:awq(grid=3)"}) {
    const fs::path out = temporary.path() / "out.gguf";
    const auto report = with_statistics(model, out, pass + " L*:f32 embed:f32", statistics);
    ASSERT_TRUE(report) << report.error().text();
    EXPECT_LT(distance(wanted, outcome_of(out, golden)), 1e-3) << pass;
    if (pass.starts_with("L*:smooth")) {
      EXPECT_FALSE(report->tensors.empty());
      continue;
    }
    std::set<std::string> names;
    for (const auto& site : report->passes.at(0).details["sites"]) {
      names.insert(site["site"].get<std::string>());
      EXPECT_LE(site["error_after"].get<double>(), site["error_before"].get<double>()) << site.dump();
    }
    std::string all;
    for (const std::string& name : names) all += (all.empty() ? "" : " ") + name;
    EXPECT_EQ(all, GetParam().places);
  }
}

const std::string kAll = "attn.norm attn.v mlp.norm mlp.up";

INSTANTIATE_TEST_SUITE_P(All, Scaled,
                         testing::Values(Family{"gqa", kAll}, Family{"qwen2", kAll}, Family{"gemma2", kAll},
                                         Family{"gemma3", kAll}, Family{"phi3", kAll},
                                         Family{"gpt2", "attn.norm attn.v mlp.norm"},
                                         Family{"gptneox", "attn.norm attn.v mlp.norm"},
                                         Family{"stablelm_parallel", "attn.norm attn.v mlp.up"},
                                         Family{"mixtral", kAll}, Family{"qwen3moe", kAll}, Family{"qwen2moe", kAll},
                                         Family{"olmo2", "attn.v mlp.up"},
                                         Family{"deepseek_v2_lite", "attn.norm mlp.norm mlp.up"},
                                         Family{"lfm2", "attn.norm attn.v mixer.norm mlp.norm mlp.up"}),
                         [](const auto& info) { return info.param.name; });

TEST(Scale, StatisticsFollowTheScales) {
  for (const char* golden : {"gqa", "qwen2moe", "phi3"}) {
    SCOPED_TRACE(golden);
    expect_statistics_follow(golden, "L*:smooth(alpha=0.6)");
  }
}

/// A copy of a golden folder in which some channels of every norm before a part are 32 times as large.
fs::path with_outliers(const std::string& golden, const TemporaryFolder& temporary) {
  const fs::path folder = folder_alone(golden_folder() / golden, temporary);
  std::fstream file(folder / "model.safetensors", std::ios::in | std::ios::out | std::ios::binary);
  uint64_t size = 0;
  file.read(reinterpret_cast<char*>(&size), sizeof(size));
  std::string text(size, ' ');
  file.read(text.data(), static_cast<std::streamsize>(size));
  const nlohmann::json header = nlohmann::json::parse(text);
  for (const auto& [name, tensor] : header.items()) {
    if (name.find("layernorm") == std::string::npos) continue;
    const auto begin = tensor["data_offsets"][0].get<uint64_t>() + sizeof(size) + text.size();
    for (const uint64_t channel : {5, 33, 62}) {
      uint16_t bits = 0;
      file.seekg(static_cast<std::streamoff>(begin + 2 * channel));
      file.read(reinterpret_cast<char*>(&bits), sizeof(bits));
      bits = static_cast<uint16_t>(bits + (5U << 7U));  // bfloat16: five more in the exponent
      file.seekp(static_cast<std::streamoff>(begin + 2 * channel));
      file.write(reinterpret_cast<const char*>(&bits), sizeof(bits));
    }
  }
  return folder;
}

/// The mean squared difference of the streams and logits from those of the model, beside their mean square.
double loss(const std::vector<float>& wanted, const std::vector<float>& found) {
  double difference = 0;
  double square = 0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    difference += std::pow(double{wanted[i]} - double{found[i]}, 2);
    square += std::pow(double{wanted[i]}, 2);
  }
  return difference / square;
}

TEST(Scale, SomeLargeInputsLoseLess) {
  const TemporaryFolder temporary;
  const fs::path model = with_outliers("gqa", temporary);
  const fs::path golden = golden_folder() / "gqa";
  const fs::path statistics = saved_statistics(model, temporary);
  const fs::path out = temporary.path() / "out.gguf";
  const auto make = [&](const std::string& recipe) {
    const auto report = with_statistics(model, out, recipe, statistics);
    EXPECT_TRUE(report) << recipe << ": " << report.error().text();
  };
  const std::vector<float> wanted = outcome_of(model, golden);
  const auto lost_by_weights = [&](const std::string& recipe) {
    make(recipe);
    return loss(wanted, outcome_of(out, golden));
  };
  const double plain = lost_by_weights("L*.attn:q4_0");
  const double scaled = lost_by_weights("L*.attn:awq+q4_0");
  EXPECT_LT(scaled, 0.7 * plain) << scaled << " " << plain;

  // The large inputs take the others' bits where activations are stored in 8.
  const auto tokens = run::read_npy<int32_t>(golden / "tokens.npy", "<i4");
  const std::vector<float> logits = exact_logits(model, "gqa");
  const auto lost_by_activations = [&](const std::string& recipe) {
    make(recipe);
    run::ModelRun run = run::ModelRun::open(out, {});
    return loss(logits, run.logits(tokens, {64}));
  };
  const double rough = lost_by_activations("L*.attn:q8_0");
  const double smoothed = lost_by_activations("L*.attn:smooth+q8_0");
  EXPECT_LT(smoothed, rough) << smoothed << " " << rough;
}

TEST(Scale, OneAlphaForAllIsSearched) {
  const TemporaryFolder temporary;
  const fs::path model = with_outliers("gqa", temporary);
  const fs::path golden = golden_folder() / "gqa";
  const fs::path statistics = saved_statistics(model, temporary);
  const std::vector<float> wanted = outcome_of(model, golden);
  const fs::path out = temporary.path() / "out.gguf";
  const auto lost = [&](const std::string& recipe) {
    const auto report = with_statistics(model, out, recipe, statistics);
    EXPECT_TRUE(report) << recipe << ": " << report.error().text();
    return std::pair(report ? report->passes : std::vector<PassReport>(), loss(wanted, outcome_of(out, golden)));
  };
  const auto [passes, searched] = lost("L*.attn:smooth(grid=10)+q4_0");
  ASSERT_EQ(passes.size(), 1U);
  const auto& alphas = passes.front().details["alphas"];
  ASSERT_EQ(alphas.size(), 12U) << "without scales, and eleven steps";
  const auto best = std::ranges::min_element(
      alphas, {}, [](const nlohmann::ordered_json& one) { return one["error"].get<double>(); });
  ASSERT_FALSE((*best)["alpha"].is_null()) << alphas.dump();
  const double alpha = (*best)["alpha"].get<double>();
  EXPECT_NE(passes.front().summary.find(fmt::format("to the power of {}", alpha)), std::string::npos);
  EXPECT_EQ(lost(fmt::format("L*.attn:smooth(alpha={})+q4_0", alpha)).second, searched);
  const double plain = lost("L*.attn:q4_0").second;
  EXPECT_LT(searched, 0.7 * plain) << searched << " " << plain;
}

TEST(Scale, SearchesDoNotDependOnThreads) {
  const TemporaryFolder temporary;
  const fs::path model = golden_model("gqa");
  const fs::path statistics = saved_statistics(model, temporary);
  for (const char* recipe : {"L*:awq+q4_0", "L*:smooth(grid=4)+q4_0"}) {
    std::vector<std::string> found;
    for (const int threads : {1, 3}) {
      core::ThreadPool pool(threads);
      const auto report = compress({.model = model,
                                    .out = temporary.path() / "out.gguf",
                                    .recipe = recipe,
                                    .statistics = statistics,
                                    .force = true},
                                   pool, {});
      ASSERT_TRUE(report) << report.error().text();
      found.push_back(report->passes.at(0).details.dump());
    }
    EXPECT_EQ(found[0], found[1]);
  }
}

TEST(Scale, RefusesWhatItCannotDo) {
  const TemporaryFolder temporary;
  const auto message = [&](const fs::path& model, const std::string& recipe, bool known) {
    const auto report =
        with_statistics(model, temporary.path() / "out.gguf", recipe, known ? saved_statistics(model, temporary) : "");
    EXPECT_FALSE(report) << recipe;
    return report ? "" : report.error().text();
  };
  const fs::path gqa = golden_model("gqa");
  EXPECT_THAT(message(gqa, "L*:awq+q4_0", false), HasSubstr("make statistics with `lamina stats`"));
  EXPECT_THAT(message(gqa, "L*:awq+smooth", false), HasSubstr("inputs are scaled by one of them"));
  EXPECT_THAT(message(gqa, "L*:smooth(alpha=0.5,grid=20)", true), HasSubstr("one of them expected"));
  EXPECT_THAT(message(golden_model("olmo2"), "L*.q:smooth", true), HasSubstr("no place for the inverse"));
  const fs::path tied = temporary.path() / "tied.gguf";
  written(gqa, tied, "L0-1:tie");
  EXPECT_THAT(message(tied, "L*:awq", true), HasSubstr("its matrices are another layer's too"));
}

}  // namespace
}  // namespace lamina::compress
