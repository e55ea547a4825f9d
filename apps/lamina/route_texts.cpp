#include "lamina/route_texts.h"

#include <algorithm>

namespace lamina::app {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

void add_task_prefix(CLI::App& command, RouteOptions& options) {
  command.add_option("--task-prefix", options.task_prefix, "text before each prompt, such as \"<|endoftext|>\"");
}

Result<Texts> item_texts(const std::vector<eval::TaskItem>& items, const std::string& prefix,
                         const text::Tokenizer& tokenizer) {
  Texts texts;
  for (const eval::TaskItem& item : items) {
    LAMINA_ASSIGN(eval::ScoredSequence sequence, eval::task_sequence(item, prefix, tokenizer));
    texts.push_back(std::move(sequence));
  }
  return texts;
}

Status check_bare_route(const recipe::RunPlan& plan) {
  if (!plan.exit && !plan.fuse && !plan.reweave) return {};
  return fail(ErrorCode::kUnsupported, "--recipe",
              "layers are chosen for a route that nothing acts beside; no exits and no decode: expected");
}

Result<int64_t> context_of(const Texts& texts, const models::Model& model, const std::string& place) {
  int64_t context = 1;
  for (const eval::ScoredSequence& text : texts) context = std::max(context, std::ssize(text.tokens));
  if (context <= model.context()) return context;
  return fail(ErrorCode::kLimit, place, "a text of {} tokens; the model was made for {}", context, model.context());
}

}  // namespace lamina::app
