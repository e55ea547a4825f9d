#include "serve/served_model.h"

#include "embed/encode.h"
#include "models/vocabulary.h"

namespace lamina::serve {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

std::string_view task_name(Task task) {
  switch (task) {
    case Task::kEmbed:
      return "embed";
    case Task::kRank:
      return "rank";
    case Task::kGenerate:
      break;
  }
  return "generate";
}

Result<Task> find_task(const models::Model& model) {
  const std::string place = model.files().path().string();
  if (model.encoder() != nullptr) {
    return fail(ErrorCode::kUnsupported, place,
                "an encoder-decoder reads one text and writes another, which no route serves; `lamina run` would work");
  }
  const layers::Head& head = model.head();
  if (head.labels()) {
    if (head.outputs() == 1) return Task::kRank;
    return fail(ErrorCode::kUnsupported, place, "{} labels for a text; a reranker has one", head.outputs());
  }
  if (model.reads_ahead()) return Task::kEmbed;
  LAMINA_ASSIGN(const std::optional<std::string> modules, model.files().read_text("modules.json"));
  return modules ? Task::kEmbed : Task::kGenerate;
}

void note_facts(ServedModel& model) {
  const run::RunnerOptions& options = model.runner->options();
  model.facts = {.architecture = std::string(model.model->architecture()),
                 .context = options.context,
                 .sequences = options.sequences};
}

Status read_uses(ServedModel& model) {
  const format::ModelFiles& files = model.model->files();
  if (model.task == Task::kGenerate) {
    LAMINA_ASSIGN(std::optional<std::string> source, models::chat_template_source(files));
    if (!source) return {};
    auto compiled = text::ChatTemplate::compile(std::move(*source));
    if (!compiled) return fail(ErrorCode::kCorrupt, files.path().string(), "{}", compiled.error().text());
    model.chat_template = std::move(*compiled);
    return {};
  }
  LAMINA_ASSIGN(model.settings, embed::read_settings(*model.model));
  if (model.task == Task::kRank) {
    LAMINA_ASSIGN(model.pair_template, embed::load_pair_template(*model.model, model.tokenizer));
  }
  return {};
}

}  // namespace lamina::serve
