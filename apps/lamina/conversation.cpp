#include "lamina/conversation.h"

#include "core/clock.h"
#include "models/vocabulary.h"

namespace lamina::app {

using core::Result;

Result<text::ChatTemplate> compile_template(std::string source, const std::string& place) {
  auto compiled = text::ChatTemplate::compile(std::move(source));
  if (compiled) return compiled;
  const core::Error& error = compiled.error();
  return core::fail(error.code == core::ErrorCode::kInvalid ? core::ErrorCode::kCorrupt : error.code, place, "{}",
                    error.text());
}

Result<Conversation> Conversation::create(const format::ModelFiles& files, const text::Tokenizer& tokenizer) {
  LAMINA_ASSIGN(std::optional<std::string> source, models::chat_template_source(files));
  if (!source) {
    return core::fail(core::ErrorCode::kUnsupported, files.path().string(),
                      "has no chat template (a base model); use --raw to complete text");
  }
  LAMINA_ASSIGN(text::ChatTemplate chat_template, compile_template(std::move(*source), files.path().string()));
  return Conversation(std::move(chat_template), tokenizer);
}

Result<std::string> Conversation::render() const {
  text::ChatTemplateInput input;
  input.messages = messages_;
  input.add_generation_prompt = true;
  input.bos_token = tokenizer_->token(tokenizer_->bos());
  input.eos_token = tokenizer_->token(tokenizer_->eos());
  return template_.render(input);
}

Result<std::vector<int32_t>> Conversation::tokens() const {
  LAMINA_ASSIGN(const std::string text, render());
  return encode_rendered(*tokenizer_, text);
}

Result<std::vector<int32_t>> encode_rendered(const text::Tokenizer& tokenizer, const std::string& text) {
  return tokenizer.encode(text, {.add_special = false, .parse_special = true});
}

}  // namespace lamina::app
