#include "compress/compress.h"

#include <memory>
#include <optional>

#include "core/clock.h"
#include "lamina/cli.h"
#include "lamina/commands.h"
#include "lamina/progress.h"
#include "lamina/store.h"

namespace lamina::app {

namespace {

using core::Status;

struct CompressCommand {
  std::string model;
  std::vector<std::string> others;
  std::string base;
  std::vector<std::string> calibration;
  std::string recipe;
  std::string statistics;
  std::string out;
  uint64_t target_bytes = 0;
  int64_t split_bytes = 0;
  int threads = 0;
  bool force = false;
  bool resume = false;
  bool json = false;
};

nlohmann::ordered_json bits_json(const compress::CompressReport& report) {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const compress::BitsReport& bits : report.bits) {
    nlohmann::ordered_json rows = nlohmann::ordered_json::array();
    for (const compress::BitsRow& row : bits.rows) {
      rows.push_back({{"tensor", row.tensor},
                      {"codec", row.codec},
                      {"bytes", row.bytes},
                      {"error", row.error},
                      {"plain_error", row.plain_error}});
    }
    all.push_back({{"clause", bits.clause},
                   {"measure", bits.measure},
                   {"budget", bits.budget},
                   {"bytes", bits.bytes},
                   {"error", bits.error},
                   {"bound", bits.bound},
                   {"plain", bits.plain},
                   {"plain_bytes", bits.plain_bytes},
                   {"plain_error", bits.plain_error},
                   {"plain_won", bits.plain_won},
                   {"tensors", std::move(rows)}});
  }
  return all;
}

void print_bits(const compress::BitsReport& bits) {
  fmt::print("{}: {} of {}, {} {:.4g}", bits.clause, size_text(bits.bytes), size_text(bits.budget), bits.measure,
             bits.error);
  if (bits.plain.empty()) {
    fmt::print("; no format for all of them fits\n");
  } else if (bits.plain_won) {
    fmt::print("; the plain preset {} won\n", bits.plain);
  } else {
    fmt::print("; the best plain preset, {}: {}, {:.4g}\n", bits.plain, size_text(bits.plain_bytes), bits.plain_error);
  }
}

nlohmann::ordered_json passes_json(const compress::CompressReport& report) {
  nlohmann::ordered_json passes = nlohmann::ordered_json::array();
  for (const compress::PassReport& pass : report.passes) {
    nlohmann::ordered_json row{{"clause", pass.clause}, {"seconds", pass.seconds}, {"summary", pass.summary}};
    if (!pass.details.is_null()) row["details"] = pass.details;
    passes.push_back(std::move(row));
  }
  return passes;
}

nlohmann::ordered_json to_json(const compress::CompressReport& report, double seconds) {
  nlohmann::ordered_json tensors = nlohmann::ordered_json::array();
  for (const compress::TensorReport& tensor : report.tensors) {
    nlohmann::ordered_json row{{"name", tensor.name},   {"before", tensor.before},
                               {"after", tensor.after}, {"bytes_before", tensor.bytes_before},
                               {"bytes", tensor.bytes}, {"rmse", tensor.rmse}};
    if (tensor.gptq) row["output_rmse"] = tensor.output_rmse;
    if (!tensor.note.empty()) row["note"] = tensor.note;
    tensors.push_back(std::move(row));
  }
  return {{"architecture", report.architecture},
          {"recipe", report.recipe},
          {"statistics", report.statistics},
          {"files", report.files},
          {"bytes_before", report.bytes_before},
          {"bytes", report.bytes},
          {"seconds", seconds},
          {"notes", report.notes},
          {"bits", bits_json(report)},
          {"passes", passes_json(report)},
          {"tensors", std::move(tensors)}};
}

Status compress_command(const CompressCommand& command) {
  LAMINA_ASSIGN(const std::filesystem::path model, resolve_model(command.model));
  compress::MergeSources merge;
  for (const std::string& other : command.others) {
    LAMINA_ASSIGN(const std::filesystem::path path, resolve_model(other));
    merge.others.push_back(path);
  }
  if (!command.base.empty()) {
    LAMINA_ASSIGN(merge.base, resolve_model(command.base));
  }
  const std::vector<std::filesystem::path> texts(command.calibration.begin(), command.calibration.end());
  if (!merge.empty()) merge.texts = texts;
  core::ThreadPool pool(command.threads);
  const core::Stopwatch watch;
  std::optional<Progress> bar;
  const auto progress = [&](int64_t done, int64_t total) {
    if (!bar && watch.seconds() > 1) bar.emplace("compressing", total);
    if (bar) bar->update(done);
    return true;
  };
  LAMINA_ASSIGN(const compress::CompressReport report,
                compress::compress({.model = model,
                                    .out = command.out,
                                    .recipe = command.recipe,
                                    .statistics = command.statistics,
                                    .calibration = merge.empty() ? texts : std::vector<std::filesystem::path>(),
                                    .target_bytes = static_cast<int64_t>(command.target_bytes),
                                    .split_bytes = command.split_bytes,
                                    .force = command.force,
                                    .resume = command.resume,
                                    .merge = std::move(merge)},
                                   pool, progress));
  bar.reset();
  note_all(report.notes);
  if (command.json) {
    print_json(to_json(report, watch.seconds()));
    return {};
  }
  for (const compress::BitsReport& bits : report.bits) print_bits(bits);
  for (const compress::PassReport& pass : report.passes)
    fmt::print("{}: {}, {:.1f} s\n", pass.clause, pass.summary, pass.seconds);
  for (const std::string& file : report.files) fmt::print("{}\n", file);
  fmt::print("{} tensors, {} -> {}, {:.1f} s\n", report.tensors.size(), size_text(report.bytes_before),
             size_text(report.bytes), watch.seconds());
  return {};
}

void add_output_options(CLI::App& command, CompressCommand& options) {
  command.add_option("-o,--output", options.out, "a .gguf file, or else a folder")->required();
  command.add_option("--split-bytes", options.split_bytes, "bytes of tensors in one file at most")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 50));
  command.add_option("--threads", options.threads, "threads; as many as this process may use by default")
      ->check(CLI::Range(1, 256));
  command.add_flag("--force", options.force, "replace the output if it exists");
  command.add_flag("--resume", options.resume,
                   "keep finished tensors in OUTPUT.unfinished, and go on from those of a run that was broken off");
  add_json_option(command, options.json);
}

}  // namespace

void add_compress(CLI::App& app, int& exit_status) {
  auto options = std::make_shared<CompressCommand>();
  CLI::App* command = add_command(
      app, "compress", "write a model in another container, with smaller weights or fewer layers",
      "  lamina compress model.gguf -o folder                        (converts; a folder to .gguf likewise)\n"
      "  lamina compress folder --recipe \"L*:q4_k embed:q6_k\" -o model.gguf\n"
      "  lamina compress folder --recipe \"L*:q4_k embed:q6_k\" --stats folder.stats.safetensors -o model.gguf\n"
      "  lamina compress folder --recipe \"L*:gptq+q3_k embed:q6_k\" --stats folder.stats.safetensors -o model.gguf\n"
      "  lamina compress folder --recipe \"L*:bits embed:q6_k\" --target-bytes 60M --stats folder.stats.safetensors -o "
      "model.gguf\n"
      "  lamina compress folder --recipe \"L*.attn:drop(count=4) L*:q4_k\" --stats folder.stats.safetensors -o "
      "model.gguf\n"
      "  lamina compress folder --recipe \"L12:fold\" --calibration text.txt -o model.gguf\n"
      "  lamina compress folder --recipe \"L*.attn:q8_0 L*.mlp:q4_k\" -o model.gguf --split-bytes 2000000000");
  command
      ->add_option("MODEL", options->model, "a .gguf file, a folder in the Hugging Face layout, or a name in the store")
      ->required();
  command->add_option("--recipe", options->recipe,
                      "codecs of the weights and what else to change; see `lamina techniques`");
  command
      ->add_option("--stats", options->statistics,
                   "what `lamina stats` saw of this model, which searches and choices go by")
      ->check(CLI::ExistingFile);
  command
      ->add_option("--calibration", options->calibration,
                   "a text that fold runs the model on; may be given several times")
      ->allow_extra_args(false)
      ->check(CLI::ExistingFile);
  command
      ->add_option("--target-bytes", options->target_bytes,
                   "bytes of all tensors at most, as 60M; for a recipe with bits, as \"L*:bits embed:q6_k\"")
      ->transform(CLI::AsSizeValue(true))
      ->check(CLI::Range(uint64_t{1}, uint64_t{1} << 50));
  add_output_options(*command, *options);
  command->callback([options, &exit_status] { exit_status = exit_status_of(compress_command(*options)); });
}

void add_merge(CLI::App& app, int& exit_status) {
  auto options = std::make_shared<CompressCommand>();
  auto models = std::make_shared<std::vector<std::string>>();
  CLI::App* command =
      add_command(app, "merge", "make one model of several of the same shape",
                  "  lamina merge a b -o mean                                        (the mean of all numbers)\n"
                  "  lamina merge a b --recipe \"merge:slerp(t=0.3)\" -o between\n"
                  "  lamina merge a b --recipe merge:regmean --calibration a.txt --calibration b.txt -o regressed\n"
                  "  lamina merge a b c --base origin --recipe \"merge:ties(density=0.2) L*:q4_k\" -o merged.gguf");
  command->add_option("MODELS", *models, "files, folders or names in the store; the first gives settings and tokenizer")
      ->required()
      ->expected(2, 64);
  command->add_option("--base", options->base, "what the others were trained from: differences are taken from it");
  command->add_option("--recipe", options->recipe, "how to merge, and codecs; see `lamina techniques`");
  command
      ->add_option("--calibration", options->calibration,
                   "a text for each model, in their order, or one for all: for merge:regmean")
      ->allow_extra_args(false)
      ->check(CLI::ExistingFile);
  add_output_options(*command, *options);
  command->callback([options, models, &exit_status] {
    options->model = models->front();
    options->others.assign(models->begin() + 1, models->end());
    exit_status = exit_status_of(compress_command(*options));
  });
}

}  // namespace lamina::app
