#include <fmt/format.h>

#include <memory>
#include <optional>

#include "core/memory.h"
#include "lamina/commands.h"
#include "lamina/progress.h"
#include "lamina/session.h"
#include "lamina/stats_table.h"
#include "lamina/store.h"
#include "lamina/table.h"
#include "stats/collector.h"
#include "stats/sensitivity.h"

namespace lamina::app {

namespace {

using core::fail;
using core::Result;
using core::Status;

struct StatsOptions {
  CommonOptions common;
  std::vector<std::string> calibration;
  std::string out;
  int64_t window = 512;
  int64_t tokens = 0;
  bool gram = false;
  bool attention = false;
  bool sensitivity = false;
};

/// Where statistics of a model are looked for and written unless another place is given.
std::filesystem::path beside(const std::filesystem::path& model) {
  std::filesystem::path path = model.has_filename() ? model : model.parent_path();
  return path += ".stats.safetensors";
}

Result<stats::Statistics> read_text(const StatsOptions& options, Session& session, const std::string& path) {
  LAMINA_ASSIGN(const std::string text, read_file(path));
  LAMINA_ASSIGN(std::vector<int32_t> tokens,
                session.tokenizer->encode(text, {.add_special = false, .parse_special = false}));
  if (options.tokens > 0 && std::ssize(tokens) > options.tokens) tokens.resize(static_cast<size_t>(options.tokens));
  std::optional<Progress> bar;
  const core::Stopwatch watch;
  const auto progress = [&](int64_t done, int64_t total) {
    if (!bar && watch.seconds() > 1) bar.emplace("reading", total, "tokens");
    if (bar) bar->update(done);
    return true;
  };
  // The totals of the texts before this one stand beside those of this one.
  const stats::CollectorOptions collector{
      .attention = options.attention, .grams = options.gram, .most_gram_bytes = core::available_bytes() / 10 * 9};
  auto found = stats::collect(*session.runner, *session.pool, tokens,
                              {.window = options.window, .collector = collector}, progress);
  if (!found) return fail(found.error().code, path, "{}", found.error().message);
  if (!options.sensitivity) return found;
  bar.reset();
  const auto runs = [&](int64_t done, int64_t total) {
    if (!bar) bar.emplace("disturbing", total, "runs");
    bar->update(done);
    return true;
  };
  LAMINA_CHECK_OK(
      stats::add_sensitivity(*session.runner, *session.pool, tokens, {.window = options.window}, runs, *found));
  return found;
}

nlohmann::ordered_json to_json(const stats::Statistics& statistics, const std::string& out) {
  return {{"file", out},
          {"model", statistics.model},
          {"texts", statistics.texts},
          {"tokens", statistics.tokens},
          {"tensors", statistics.matrices.size()},
          {"grams", statistics.grams.size()},
          {"parts", parts_json(statistics)},
          {"experts", experts_json(statistics)},
          {"attention", attention_json(statistics)}};
}

Status stats_command(const StatsOptions& options) {
  if ((options.gram || options.attention) && std::filesystem::path(options.out).extension() == ".gguf") {
    return fail(core::ErrorCode::kUnsupported, options.out,
                "an importance matrix in GGUF has no place for {}; a file of another name expected",
                options.gram ? "Gram matrices" : "attention");
  }
  LAMINA_ASSIGN(const std::filesystem::path model, resolve_model(options.common.model));
  CommonOptions common = options.common;
  common.context = options.window;
  LAMINA_ASSIGN(Session session, open_session(common, {.context = options.window, .max_rows = 512}));
  std::optional<stats::Statistics> all;
  for (const std::string& path : options.calibration) {
    LAMINA_ASSIGN(stats::Statistics one, read_text(options, session, path));
    if (!all) {
      all = std::move(one);
    } else {
      LAMINA_CHECK_OK(all->merge(one));
    }
  }
  const std::string out = options.out.empty() ? beside(model).string() : options.out;
  LAMINA_CHECK_OK(stats::save(*all, out));
  if (common.json) {
    print_json(to_json(*all, out));
    return {};
  }
  fmt::print("{}", parts_text(*all));
  if (!all->experts.empty()) fmt::print("\n{}\n", experts_text(*all, false));
  if (options.attention) fmt::print("\n{}\n", attention_text(*all, false));
  fmt::print("{}\n{} tokens, {} tensors", out, count_text(all->tokens), all->matrices.size());
  if (options.gram) fmt::print(", {} Gram matrices", all->grams.size());
  fmt::print("\n");
  return {};
}

}  // namespace

void add_stats(CLI::App& app, int& exit_status) {
  auto options = std::make_shared<StatsOptions>();
  CLI::App* command = add_command(
      app, "stats", "read calibration text and keep what compression needs to know of each layer",
      "  lamina stats smollm2-135m --calibration text.txt            (kept beside the model)\n"
      "  lamina stats model.gguf --calibration a.txt --calibration b.txt -o model.stats.safetensors\n"
      "  lamina stats model.gguf --gram --calibration a.txt      (with Gram matrices, which gptq and bits read)\n"
      "  lamina compress model.gguf --stats model.stats.safetensors --recipe \"L*:q4_k\" -o small.gguf");
  add_model_options(*command, options->common);
  command->add_option("--calibration", options->calibration, "a text file; may be given several times")
      ->required()
      ->allow_extra_args(false);
  command->add_option("-o,--output", options->out, "the file to write; beside the model by default");
  command->add_option("--window", options->window, "tokens that are read together")
      ->check(CLI::Range(int64_t{16}, int64_t{1} << 20));
  command->add_option("--tokens", options->tokens, "at most so many tokens of each text")->check(CLI::PositiveNumber);
  command->add_flag("--sensitivity", options->sensitivity,
                    "measure what noise after each layer does to the predictions: for bits; a run for each layer");
  command->add_flag("--gram", options->gram,
                    "keep the Gram matrix of what each group of matrices reads: for gptq, bits");
  command->add_flag("--attention", options->attention,
                    "keep how each head spreads its attention: its entropy, and shares by position and distance");
  command->callback([options, &exit_status] { exit_status = exit_status_of(stats_command(*options)); });
}

}  // namespace lamina::app
