#include "compress/layer_grams.h"

#include <fmt/format.h>

#include <fstream>
#include <iterator>

#include "models/vocabulary.h"
#include "run/plan_recipe.h"
#include "run/runner.h"

namespace lamina::compress {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

Result<std::vector<int32_t>> read_tokens(const std::filesystem::path& text, const format::ModelFiles& files,
                                         int64_t most) {
  LAMINA_ASSIGN(const text::Tokenizer tokenizer, models::load_tokenizer(files));
  std::ifstream file(text, std::ios::binary);
  const std::string bytes(std::istreambuf_iterator<char>(file), {});
  if (!file || file.bad()) return fail(ErrorCode::kIo, text.string(), "cannot be read");
  LAMINA_ASSIGN(std::vector<int32_t> tokens, tokenizer.encode(bytes, {.add_special = false, .parse_special = false}));
  tokens.resize(std::min(tokens.size(), static_cast<size_t>(most)));
  return tokens;
}

LayerGrams::LayerGrams(const layers::Layer& layer, core::ThreadPool& pool) : adder_(pool) {
  for (const layers::Layer::Part& part : layer.parts) {
    for (const layers::Linear* linear : part.sublayer->linears()) places_[linear] = {.tensor = linear->name()};
  }
}

void LayerGrams::record(std::span<const layers::Linear* const> readers, const layers::InputRows& rows) {
  constexpr int kUnseen = -1;
  constexpr int kMixed = -2;
  int shared = kUnseen;
  for (const layers::Linear* linear : readers) {
    const auto found = places_.find(linear);
    if (found == places_.end() || rows.count == 0) continue;
    int& own = found->second.gram;
    if (shared == kUnseen && own == kUnseen) {
      shared = static_cast<int>(grams_.size());
      grams_.emplace_back(linear->columns());
    } else if (shared == kUnseen) {
      shared = own;
    }
    if (own != shared) own = own == kUnseen ? shared : kMixed;
  }
  if (shared < 0 || !status_) return;
  status_ = adder_.add(rows, grams_[static_cast<size_t>(shared)]);
}

const stats::Gram* LayerGrams::of(const std::string& tensor) const {
  int gram = -1;
  for (const auto& [linear, place] : places_) {
    if (place.tensor != tensor) continue;
    if (place.gram < 0 || (gram >= 0 && gram != place.gram)) return nullptr;
    gram = place.gram;
  }
  return gram < 0 ? nullptr : &grams_[static_cast<size_t>(gram)];
}

Result<LayerGrams> LayerGrams::collect(const format::ModelFiles& files, int layer, std::span<const int32_t> tokens,
                                       int64_t window, core::ThreadPool& pool) {
  if (std::ssize(tokens) < window) {
    return fail(ErrorCode::kInvalid, "calibration text", "{} tokens; at least one window of {} expected", tokens.size(),
                window);
  }
  LAMINA_ASSIGN(const std::unique_ptr<models::Model> model, models::Model::build(files, {}));
  LAMINA_CHECK_OK(model->load(pool, {}));
  LAMINA_ASSIGN(recipe::RunPlan plan, run::plan_recipe(fmt::format("route:0-{}", layer), *model));
  LAMINA_ASSIGN(const std::unique_ptr<run::Runner> runner,
                run::Runner::create(*model, pool,
                                    {.plan = std::move(plan), .context = window, .sequences = 1, .max_rows = window}));
  LayerGrams grams(model->layers()[static_cast<size_t>(layer)], pool);
  runner->set_recorder(&grams);
  std::vector<run::BatchRow> rows;
  for (size_t at = 0; at + static_cast<size_t>(window) <= tokens.size(); at += static_cast<size_t>(window)) {
    LAMINA_ASSIGN(const cache::SequenceId sequence, runner->open());
    rows.clear();
    for (const int32_t token : tokens.subspan(at, static_cast<size_t>(window)))
      rows.push_back({.token = token, .sequence = sequence});
    LAMINA_CHECK_OK(runner->step(rows, {}));
    runner->close(sequence);
  }
  runner->set_recorder(nullptr);
  LAMINA_CHECK_OK(grams.status_);
  return grams;
}

}  // namespace lamina::compress
