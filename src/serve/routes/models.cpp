#include "serve/generation.h"
#include "serve/routes.h"

namespace lamina::serve {

Answer<Reply> answer_models(Call& call) {
  Json list = Json::array();
  for (const auto& model : call.service.models()) {
    const run::RunnerOptions& options = model->runner->options();
    list.push_back({{"id", model->name},
                    {"object", "model"},
                    {"created", model->created},
                    {"owned_by", "lamina"},
                    {"task", task_name(model->task)},
                    {"architecture", model->model->architecture()},
                    {"recipe", model->recipe},
                    {"max_model_len", model->context()},
                    {"parallel", options.sequences},
                    {"queue", call.service.scheduler().queue()}});
  }
  return json_reply({{"object", "list"}, {"data", std::move(list)}});
}

}  // namespace lamina::serve
