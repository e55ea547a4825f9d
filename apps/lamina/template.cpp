#include <memory>

#include "lamina/cli.h"
#include "lamina/commands.h"
#include "lamina/conversation.h"
#include "lamina/store.h"
#include "models/vocabulary.h"

namespace lamina::app {

namespace {

using core::ErrorCode;
using core::fail;
using core::Status;

struct TemplateOptions {
  std::string model;
  std::string messages;
  bool json = false;
};

Status render_template(const TemplateOptions& options) {
  LAMINA_ASSIGN(const std::filesystem::path path, resolve_model(options.model));
  LAMINA_ASSIGN(const text::Tokenizer tokenizer, models::load_tokenizer(path));
  LAMINA_ASSIGN(std::optional<std::string> source, models::chat_template_source(path));
  if (!source) return fail(ErrorCode::kUnsupported, path.string(), "has no chat template");
  LAMINA_ASSIGN(const text::ChatTemplate chat_template, compile_template(std::move(*source), path.string()));
  LAMINA_ASSIGN(const std::string text, read_file(options.messages));
  auto parsed = text::parse_messages(text);
  if (!parsed) return fail(parsed.error().code, options.messages, "{}", parsed.error().text());
  text::ChatTemplateInput input;
  input.messages = std::move(parsed->messages);
  input.tools = std::move(parsed->tools);
  input.extra = std::move(parsed->extra);
  input.add_generation_prompt = parsed->add_generation_prompt.value_or(false);
  input.continue_field = std::move(parsed->continue_field);
  input.bos_token = tokenizer.token(tokenizer.bos());
  input.eos_token = tokenizer.token(tokenizer.eos());
  LAMINA_ASSIGN(const std::string rendered, chat_template.render(input));
  if (!options.json) {
    fmt::print("{}", rendered);
    return {};
  }
  LAMINA_ASSIGN(const std::vector<int32_t> ids, encode_rendered(tokenizer, rendered));
  print_json({{"text", rendered}, {"tokens", ids}});
  return {};
}

}  // namespace

void add_template(CLI::App& app, int& exit_status) {
  auto options = std::make_shared<TemplateOptions>();
  CLI::App* command =
      add_command(app, "template", "render a chat with the model's template",
                  "  lamina template smollm2-135m --messages chat.json\n"
                  "  echo '[{\"role\": \"user\", \"content\": \"Hi\"}]' | lamina template model.gguf --messages -");
  command->add_option("MODEL", options->model, "a model, or a folder with tokenizer files")->required();
  command
      ->add_option("--messages", options->messages,
                   "JSON: a list of messages, or {messages, tools, add_generation_prompt, continue_final_message, ...}")
      ->required();
  add_json_option(*command, options->json);
  command->callback([options, &exit_status] { exit_status = exit_status_of(render_template(*options)); });
}

}  // namespace lamina::app
