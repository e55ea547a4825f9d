#pragma once

#include "compress/conversions.h"
#include "stats/collector.h"

namespace lamina::compress {

/// Tokens of no meaning, always the same ones.
inline std::vector<int32_t> some_tokens(int64_t count, int64_t vocabulary) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count; ++i) tokens.push_back(static_cast<int32_t>((i * i * 7 + i * 31 + 44) % vocabulary));
  return tokens;
}

/// What some tokens show of a model that runs.
inline stats::Statistics statistics_of(run::ModelRun& run, bool grams = true, int64_t tokens = 96) {
  const stats::PassOptions options{.window = 48, .collector = {.grams = grams, .most_gram_bytes = int64_t{1} << 30}};
  return stats::collect(*run.runner, *run.pool, some_tokens(tokens, run.model->vocabulary()), options, {}).value();
}

inline std::filesystem::path save_statistics(const stats::Statistics& statistics, const app::TemporaryFolder& folder,
                                             const std::string& name = "stats") {
  const std::filesystem::path path = folder.path() / (name + ".safetensors");
  EXPECT_TRUE(stats::save(statistics, path));
  return path;
}

inline core::Result<CompressReport> with_statistics(const std::filesystem::path& model,
                                                    const std::filesystem::path& out, const std::string& recipe,
                                                    const std::filesystem::path& statistics) {
  core::ThreadPool pool(2);
  return compress({.model = model, .out = out, .recipe = recipe, .statistics = statistics, .force = true}, pool, {});
}

}  // namespace lamina::compress
