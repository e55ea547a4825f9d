#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "embed/settings.h"
#include "models/model.h"
#include "run/router.h"
#include "run/runner.h"
#include "run/speculation.h"
#include "serve/layer_watch.h"
#include "text/chat_template.h"
#include "text/pair_template.h"
#include "text/tokenizer.h"

namespace lamina::serve {

class Grammars;
std::shared_ptr<Grammars> make_grammars();

/// What requests may ask of a model.
enum class Task { kGenerate, kEmbed, kRank };
std::string_view task_name(Task task);

/// What is told of a model, loaded or not.
struct ModelFacts {
  std::string architecture;
  int64_t context = 0;
  int32_t sequences = 0;
};

/// A model that is ready to run, and what its files say about using it.
struct ServedModel {
  std::string name;    ///< how requests call it
  std::string recipe;  ///< that it runs with; empty: none
  Task task = Task::kGenerate;
  std::unique_ptr<models::Model> model;
  std::unique_ptr<run::Runner> runner;
  std::unique_ptr<run::Speculation> speculation{};  ///< for all requests that say nothing of drafts; null: none
  std::unique_ptr<run::Router> router{};        ///< decides on routes of requests that say nothing of theirs; or null
  std::unique_ptr<run::RouterReader> reader{};  ///< of the router, over the runner
  text::Tokenizer tokenizer;
  std::optional<text::ChatTemplate> chat_template{};                    ///< of models that generate
  std::optional<embed::Settings> settings{};                            ///< of models that embed or rank
  std::optional<text::PairTemplate> pair_template{};                    ///< of models that rank
  int64_t created = 0;                                                  ///< seconds since 1970
  std::unique_ptr<LayerWatch> watch = std::make_unique<LayerWatch>(0);  ///< of its steps
  std::shared_ptr<Grammars> grammars = make_grammars();                 ///< that answers were asked to keep to
  ModelFacts facts{};
  /// Makes `model`, `runner`, `speculation` and `reader` again after they were unloaded; null: they stay.
  std::function<core::Status(ServedModel& model)> load{};

  /// Tokens of one text, special ones included.
  int64_t context() const { return runner->options().context; }
};

/// What a model's files say it is for.
core::Result<Task> find_task(const models::Model& model);

/// Fills in `facts`.
void note_facts(ServedModel& model);

/// Reads the chat template, the embedding settings or the pair template, by the task.
core::Status read_uses(ServedModel& model);

}  // namespace lamina::serve
