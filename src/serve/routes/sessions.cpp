#include <algorithm>
#include <array>

#include "serve/conversation.h"
#include "serve/generation.h"
#include "serve/prompts.h"
#include "serve/request_recipe.h"
#include "serve/routes.h"
#include "serve/session_files.h"

namespace lamina::serve {

namespace {

constexpr std::string_view kEnding = ".session";

constexpr std::array kFields{
    Field{"action", FieldType::kText, "what to do", true, 0, 0, "save|restore|remove"},
    Field{"name", FieldType::kText, "of the file: letters, digits, - and _", true, 1, 100},
    Field{"model", FieldType::kText, "whose text it is; needed when several could answer"},
    Field{"prompt", FieldType::kPrompt, "to save: the text, as /v1/completions has it", false, 0, 16 << 20},
    Field{"messages", FieldType::kList, "to save: the conversation, as /v1/chat/completions has it", false, 1, 4096},
    Field{"recipe", FieldType::kText, "the recipe of the requests that share it", false, 1, 4096},
    Field{"cache_salt", FieldType::kText, "the salt of the requests that share it", false, 1, 256},
};

Answer<std::filesystem::path> path_of(const Call& call) {
  const std::string& folder = call.service.options().sessions;
  if (folder.empty())
    return refuse(400, "", "no folder for sessions was given; `lamina serve --sessions FOLDER` would");
  const auto name = call.body["name"].get<std::string>();
  const bool plain = std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  });
  if (!plain) return refuse(400, "name", "name: letters, digits, - and _ expected");
  return std::filesystem::path(folder) / (name + std::string(kEnding));
}

Answer<std::vector<int32_t>> tokens_of(const Call& call, const ServedModel& model) {
  const bool prompt = call.body.contains("prompt");
  if (prompt == call.body.contains("messages"))
    return refuse(400, "prompt", "prompt or messages expected, one of them");
  if (prompt) {
    LAMINA_ASSIGN(std::vector<Prompt> prompts, read_prompts(call.body["prompt"], "prompt", model));
    if (prompts.size() != 1) return refuse(400, "prompt", "prompt: {} texts; one expected", prompts.size());
    return std::move(prompts.front().tokens);
  }
  Json body{{"messages", call.body["messages"]}, {"add_generation_prompt", false}};
  LAMINA_ASSIGN(const std::string rendered, render_conversation(model, body));
  return encode_conversation(model, rendered);
}

}  // namespace

std::span<const Field> sessions_fields() {
  return kFields;
}

Answer<Reply> answer_sessions(Call& call) {
  LAMINA_ASSIGN(const std::filesystem::path path, path_of(call));
  const auto action = call.body["action"].get<std::string>();
  Json out{{"action", action}, {"name", call.body["name"]}};
  if (action == "remove") {
    std::error_code error;
    if (!std::filesystem::remove(path, error)) return refuse(404, "name", "name: there is no such session");
    return json_reply(out);
  }
  LAMINA_ASSIGN(const size_t index, call.find_model({Task::kGenerate}));
  const ServedModel& model = call.model(index);
  GenerationJob job;
  LAMINA_CHECK_OK(read_recipe(call.body, model, job));
  assign_client(job, call);
  SessionText text{.model = index, .tokens = {}, .family = std::move(job.tenant)};
  if (action == "save") {
    LAMINA_ASSIGN(text.tokens, tokens_of(call, model));
    LAMINA_ASSIGN(const int64_t saved, save_session(call.service.scheduler(), model, text, path));
    out["tokens"] = saved;
    out["of"] = text.tokens.size();
  } else {
    LAMINA_ASSIGN(const int64_t restored, restore_session(call.service.scheduler(), model, text, path));
    out["tokens"] = restored;
  }
  return json_reply(out);
}

}  // namespace lamina::serve
