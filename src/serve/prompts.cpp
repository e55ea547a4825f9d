#include "serve/prompts.h"

namespace lamina::serve {

namespace {

constexpr size_t kMostPrompts = 2048;

Answer<Prompt> read_one(const Json& value, std::string_view field, const ServedModel& model) {
  Prompt prompt;
  prompt.as_tokens = value.is_array();
  if (prompt.as_tokens) {
    LAMINA_ASSIGN(prompt.tokens, read_tokens(value, field, model));
    prompt.text = model.tokenizer.decode(prompt.tokens, false);
  } else {
    prompt.text = value.get<std::string>();
    auto tokens = model.tokenizer.encode(prompt.text, {.add_special = true, .parse_special = true});
    if (!tokens) return refuse(400, field, "{}: {}", field, tokens.error().text());
    prompt.tokens = std::move(*tokens);
  }
  if (prompt.tokens.empty()) return refuse(400, field, "{}: it has no tokens; at least one expected", field);
  return prompt;
}

}  // namespace

Answer<std::vector<int32_t>> read_tokens(const Json& list, std::string_view field, const ServedModel& model) {
  std::vector<int32_t> tokens;
  const int64_t vocabulary = model.model->vocabulary();
  for (const Json& entry : list) {
    const bool whole = entry.is_number_integer() && !(entry.is_number_unsigned() && entry.get<uint64_t>() > INT32_MAX);
    const int64_t token = whole ? entry.get<int64_t>() : -1;
    if (token < 0 || token >= vocabulary)
      return refuse(400, field, "{}: found {}; tokens from 0 to {} expected", field, to_text(entry), vocabulary - 1);
    tokens.push_back(static_cast<int32_t>(token));
  }
  return tokens;
}

Answer<std::vector<Prompt>> read_prompts(const Json& value, std::string_view field, const ServedModel& model) {
  std::vector<Prompt> prompts;
  const bool several = value.is_array() && !value.empty() && !value.front().is_number();
  if (!several) {
    LAMINA_ASSIGN(Prompt prompt, read_one(value, field, model));
    prompts.push_back(std::move(prompt));
    return prompts;
  }
  if (value.size() > kMostPrompts)
    return refuse(400, field, "{}: {} texts; at most {} expected", field, value.size(), kMostPrompts);
  for (const Json& one : value) {
    LAMINA_ASSIGN(Prompt prompt, read_one(one, field, model));
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

}  // namespace lamina::serve
