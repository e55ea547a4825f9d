#include "serve/generation.h"
#include "serve/routes.h"

namespace lamina::serve {

Answer<Reply> answer_models(Call& call) {
  Json list = Json::array();
  for (size_t i = 0; i < call.service.models().size(); ++i) {
    const auto& model = call.service.models()[i];
    list.push_back({{"id", model->name},
                    {"object", "model"},
                    {"created", model->created},
                    {"owned_by", "lamina"},
                    {"task", task_name(model->task)},
                    {"architecture", model->facts.architecture},
                    {"recipe", model->recipe},
                    {"max_model_len", model->facts.context},
                    {"parallel", model->facts.sequences},
                    {"loaded", call.service.scheduler().keeper().loaded(i)},
                    {"queue", call.service.scheduler().queue()}});
  }
  return json_reply({{"object", "list"}, {"data", std::move(list)}});
}

}  // namespace lamina::serve
