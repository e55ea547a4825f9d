#include "serve/vector_request.h"

#include "serve/events.h"

namespace lamina::serve {

namespace {

/// A text that is too long is refused as a prompt is.
Refusal text_refusal(const core::Error& error) {
  Refusal refusal(error);
  if (error.code == core::ErrorCode::kLimit) refusal.code = "context_length_exceeded";
  return refusal;
}

}  // namespace

int64_t count_tokens(const std::vector<embed::Input>& inputs) {
  int64_t count = 0;
  for (const embed::Input& input : inputs) count += std::ssize(input.ids);
  return count;
}

Answer<embed::Input> encode_text(const ServedModel& model, const std::string& text, const std::string& prompt,
                                 const embed::TextRules& rules) {
  auto input = embed::encode_text(model.tokenizer, embed::prepare_text(*model.settings, prompt, text), rules);
  if (!input) return std::unexpected(text_refusal(input.error()));
  if (input->ids.empty()) return refuse(400, "input", "text {} has no tokens; at least one expected", rules.index);
  return std::move(*input);
}

Answer<embed::Input> encode_pair(const ServedModel& model, const std::string& first, const std::string& second,
                                 const embed::TextRules& rules) {
  const embed::Settings& settings = *model.settings;
  auto input = embed::encode_pair(model.tokenizer, *model.pair_template, embed::prepare_text(settings, "", first),
                                  embed::prepare_text(settings, "", second), rules);
  if (!input) return std::unexpected(text_refusal(input.error()));
  if (!settings.types || model.model->embedding().types() < 2) input->types.clear();
  return std::move(*input);
}

Answer<std::vector<std::vector<float>>> run_inputs(Call& call, size_t model, std::vector<embed::Input> inputs,
                                                   const embed::EmbedOptions& options) {
  call.record->prompt_tokens += count_tokens(inputs);
  const auto channel = std::make_shared<Channel>();
  LAMINA_CHECK_OK(call.service.scheduler().submit(
      model, VectorJob{.inputs = std::move(inputs), .options = options, .client = call.client, .channel = channel}));
  LAMINA_ASSIGN(std::vector<PartResult> results, collect(*channel, 1, call.request.gone));
  return std::move(results.front().vectors);
}

}  // namespace lamina::serve
