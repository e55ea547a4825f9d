#include "compress/calibration.h"

#include <fstream>
#include <iterator>

#include "models/vocabulary.h"
#include "run/plan_recipe.h"

namespace lamina::compress {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

Result<std::vector<int32_t>> read_calibration(const std::vector<std::filesystem::path>& texts,
                                              const format::ModelFiles& files) {
  LAMINA_ASSIGN(const text::Tokenizer tokenizer, models::load_tokenizer(files));
  std::vector<int32_t> all;
  for (const std::filesystem::path& path : texts) {
    std::ifstream file(path, std::ios::binary);
    if (!file) return fail(ErrorCode::kIo, path.string(), "cannot be read");
    const std::string text(std::istreambuf_iterator<char>(file), {});
    LAMINA_ASSIGN(const std::vector<int32_t> tokens,
                  tokenizer.encode(text, {.add_special = false, .parse_special = false}));
    all.insert(all.end(), tokens.begin(), tokens.end());
  }
  return all;
}

Status run_calibration(const ModelEdit& edit, int64_t window,
                       const std::function<Result<Watch>(const models::Model&)>& make) {
  const std::vector<int32_t>& tokens = edit.calibration();
  if (std::ssize(tokens) < window) {
    return fail(ErrorCode::kInvalid, "calibration text", "{} tokens; at least one window of {} expected", tokens.size(),
                window);
  }
  LAMINA_ASSIGN(const std::unique_ptr<models::Model> model, models::Model::build(edit.model().files(), {}));
  LAMINA_CHECK_OK(model->load(edit.pool(), {}));
  LAMINA_ASSIGN(recipe::RunPlan plan, run::plan_recipe("", *model));
  LAMINA_ASSIGN(const std::unique_ptr<run::Runner> runner,
                run::Runner::create(*model, edit.pool(),
                                    {.plan = std::move(plan), .context = window, .sequences = 1, .max_rows = window}));
  LAMINA_ASSIGN(const Watch watch, make(*model));
  runner->set_recorder(watch.recorder);
  runner->set_hook(watch.hook);
  std::vector<run::BatchRow> rows;
  for (size_t at = 0; at + static_cast<size_t>(window) <= tokens.size(); at += static_cast<size_t>(window)) {
    LAMINA_ASSIGN(const cache::SequenceId sequence, runner->open());
    rows.clear();
    for (size_t i = 0; i < static_cast<size_t>(window); ++i)
      rows.push_back({.token = tokens[at + i], .sequence = sequence});
    LAMINA_CHECK_OK(runner->step(rows, {}));
    runner->close(sequence);
  }
  return {};
}

}  // namespace lamina::compress
