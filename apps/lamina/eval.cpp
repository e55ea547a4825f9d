#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <memory>

#include "format/output_file.h"
#include "lamina/commands.h"
#include "lamina/comparison.h"
#include "lamina/evaluation.h"

namespace lamina::app {

namespace {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

/// Whether an argument is a file of rows, not a model.
bool holds_rows(const std::string& argument) {
  return argument.ends_with(".json");
}

/// "  name   value   [low, high]"
void print_figure(const nlohmann::ordered_json& figures, const std::string& name, const std::string& label) {
  if (!figures.contains(name)) return;
  const auto& interval = figures.at(name + "_ci95");
  const std::string range =
      interval.is_null() ? std::string()
                         : fmt::format("  [{:.5f}, {:.5f}]", interval[0].get<double>(), interval[1].get<double>());
  fmt::print("{:<28} {:>12.5f}{}\n", label, figures.at(name).get<double>(), range);
}

void print_figures(const nlohmann::ordered_json& out) {
  fmt::print("{:<28} {:>12}  95 % interval\n", "", "value");
  if (out.contains("nll")) {
    fmt::print("{:<28} {:>12}  in {} windows\n", "scored tokens", out["tokens"].get<int64_t>(),
               out["windows"].get<int64_t>());
  }
  print_figure(out, "nll", "nats per token");
  print_figure(out, "ppl", "perplexity");
  print_figure(out, "reference_ppl", "perplexity of the reference");
  print_figure(out, "ln_ppl_ratio", "ln(PPL / reference)");
  print_figure(out, "kl_mean", "KL(reference || model)");
  print_figure(out, "kl_p99", "KL, 99th percentile");
  print_figure(out, "top1_agreement", "top-1 agreement");
  if (!out.contains("tasks")) return;
  for (const auto& [name, task] : out["tasks"].items()) {
    print_figure(task, "exact_match",
                 fmt::format("{} ({} of {})", name, task["correct"].get<int64_t>(), task["items"].get<int64_t>()));
  }
  if (out.contains("draft")) {
    fmt::print("guessed tokens: {} of {} were right\n", out["draft"]["accepted"].get<int64_t>(),
               out["draft"]["drafted"].get<int64_t>());
  }
}

/// What is measured: each model under each recipe, and rows that were measured before.
struct Options {
  std::vector<std::string> models;
  std::vector<std::string> recipes;
  EvalOptions eval;
  std::string plot;
};

Status check_options(const Options& options) {
  const EvalOptions& eval = options.eval;
  const bool measures = !std::ranges::all_of(options.models, holds_rows);
  if (measures && eval.text.empty() && eval.tasks.empty()) {
    return fail(ErrorCode::kInvalid, "eval", "nothing to evaluate on; --text or --tasks expected");
  }
  const bool compares = !eval.reference.empty() || !eval.reference_logits.empty();
  if (compares && eval.text.empty()) {
    return fail(ErrorCode::kInvalid, "eval", "a reference but no text; --text expected with it");
  }
  if (!eval.reference.empty() && !eval.reference_logits.empty()) {
    return fail(ErrorCode::kInvalid, "eval", "--reference and --reference-logits; one of them expected");
  }
  return {};
}

/// The rows of one argument: those of a file, or one for each recipe.
Result<std::vector<ComparisonRow>> rows_of(const std::string& model, const Options& options) {
  if (holds_rows(model)) return read_rows(model);
  std::vector<ComparisonRow> rows;
  const std::vector<std::string> plain{""};
  for (const std::string& recipe : options.recipes.empty() ? plain : options.recipes) {
    EvalOptions eval = options.eval;
    eval.common.model = model;
    eval.common.recipe = recipe;
    LAMINA_ASSIGN(ComparisonRow row, evaluate(eval));
    rows.push_back(std::move(row));
  }
  return rows;
}

Status write_plot(const std::string& path, const std::vector<ComparisonRow>& rows) {
  LAMINA_ASSIGN(const std::string plot, comparison_plot(rows));
  LAMINA_ASSIGN(format::OutputFile file, format::OutputFile::create(path));
  LAMINA_CHECK_OK(file.write(plot));
  return file.commit();
}

Status eval_command(const Options& options) {
  LAMINA_CHECK_OK(check_options(options));
  std::vector<ComparisonRow> rows;
  for (const std::string& model : options.models) {
    LAMINA_ASSIGN(std::vector<ComparisonRow> own, rows_of(model, options));
    rows.insert(rows.end(), std::make_move_iterator(own.begin()), std::make_move_iterator(own.end()));
  }
  LAMINA_ASSIGN(rows, join_rows(std::move(rows)));
  LAMINA_CHECK_OK(add_differences(rows));
  if (!options.plot.empty()) LAMINA_CHECK_OK(write_plot(options.plot, rows));
  if (options.eval.common.json) {
    print_json(rows.size() == 1 ? rows.front() : nlohmann::ordered_json{{"rows", rows}});
  } else if (rows.size() == 1) {
    print_figures(rows.front());
  } else {
    fmt::print("{}", comparison_table(rows));
  }
  return {};
}

}  // namespace

void add_eval(CLI::App& app, int& exit_status) {
  auto options = std::make_shared<Options>();
  EvalOptions& eval = options->eval;
  CLI::App* command =
      add_command(app, "eval", "measure quality: perplexity, divergence from a reference, tasks",
                  "  lamina eval smollm2-135m --text book.txt\n"
                  "  lamina eval smollm2-135m --text book.txt --reference smollm2-135m --recipe \"L9.attn:drop\"\n"
                  "  lamina eval a.gguf b.gguf --text book.txt --reference a.gguf --plot quality.svg\n"
                  "  lamina eval model.gguf --text book.txt --recipe \"\" --recipe \"L*:q4_k\" --json > rows.json\n"
                  "  lamina eval rows.json speed.json                     (what eval and bench kept with --json)\n"
                  "  lamina eval model.gguf --tasks sums.jsonl --task-prefix \"<|endoftext|>\" --json");
  command
      ->add_option("MODEL", options->models,
                   "a .gguf file, a folder in the Hugging Face layout, or a name in the store; or a .json file of rows "
                   "that eval or bench printed with --json; several are compared in one table")
      ->required();
  command
      ->add_option("--recipe", options->recipes,
                   "techniques to apply, such as \"L9.attn:drop\"; given several times, each is measured")
      ->allow_extra_args(false);
  add_run_options(*command, eval.common);
  command->get_option("--ctx")->description("tokens of a window of text; 512 by default");
  command->add_option("--text", eval.text, "text that is cut into windows of --ctx tokens, without special tokens");
  command
      ->add_option("--score", eval.scored,
                   "what of each window is scored: second-half (from token ctx/2 on), or all but its first token")
      ->check(CLI::IsMember({"second-half", "all"}));
  command->add_option("--windows", eval.windows, "at most so many windows")->check(CLI::PositiveNumber);
  command->add_option("--reference", eval.reference, "the model to compare with on the text");
  command->add_option("--reference-recipe", eval.reference_recipe, "the reference's techniques; none by default");
  command->add_option("--reference-activations", eval.reference_activations, "int8 or f32; as --activations by default")
      ->check(CLI::IsMember({"int8", "f32"}));
  command->add_option("--reference-logits", eval.reference_logits,
                      "float32 .npy [rows, vocabulary] to compare with: a row for each scored token, made from the "
                      "tokens before it, or a row "
                      "for each token of each window, as `lamina logits` writes them");
  command
      ->add_option("--tasks", eval.tasks,
                   "JSON lines with prompt and answer; right when the greedy continuation is the answer")
      ->allow_extra_args(false);
  command->add_option("--task-prefix", eval.task_prefix, "text before each prompt, such as \"<|endoftext|>\"");
  command->add_option("--items", eval.items, "at most so many items of each task")->check(CLI::PositiveNumber);
  command->add_option("--plot", options->plot, "an .svg file: quality against bytes and speed, the best ones marked");
  command->callback([options, &exit_status] { exit_status = exit_status_of(eval_command(*options)); });
}

}  // namespace lamina::app
