#include <array>

#include "serve/generation.h"
#include "serve/prompts.h"
#include "serve/routes.h"
#include "serve/vector_codes.h"
#include "serve/vector_request.h"

namespace lamina::serve {

namespace {

constexpr std::array kFields{
    Field{"model", FieldType::kText, "which model; needed when several could answer"},
    Field{"input", FieldType::kPrompt, "the texts, or their tokens", true, 0, 16 << 20},
    Field{"encoding_format", FieldType::kText, "how vectors are written", false, 0, 0,
          "float|base64|int8|binary|ubinary"},
    Field{"dimensions", FieldType::kInteger, "the first so many numbers, where the model is trained for it", false, 1,
          1 << 20},
    Field{"prompt_name", FieldType::kText, "which of the model's own prompts to put before each text"},
    Field{"truncate", FieldType::kFlag, "cut texts that are too long instead of refusing them"},
    Field{"user", FieldType::kText, "taken and not used", false, 0, 1024},
};

constexpr size_t kMostTexts = 2048;

Answer<std::vector<embed::Input>> read_inputs(const Json& body, const ServedModel& model, const std::string& prompt) {
  const Json& value = body["input"];
  const bool several = value.is_array() && !value.empty() && !value.front().is_number();
  const Json list = several ? value : Json::array({value});
  if (list.size() > kMostTexts)
    return refuse(400, "input", "input: {} texts; at most {} expected", list.size(), kMostTexts);
  std::vector<embed::Input> inputs;
  for (size_t i = 0; i < list.size(); ++i) {
    const embed::TextRules rules{.index = i, .limit = model.context(), .truncate = value_of(body, "truncate", false)};
    if (list[i].is_string()) {
      LAMINA_ASSIGN(embed::Input input, encode_text(model, list[i].get<std::string>(), prompt, rules));
      inputs.push_back(std::move(input));
      continue;
    }
    embed::Input input;
    LAMINA_ASSIGN(input.ids, read_tokens(list[i], "input", model));
    if (input.ids.empty()) return refuse(400, "input", "input: text {} has no tokens; at least one expected", i);
    if (std::ssize(input.ids) > rules.limit) {
      return std::unexpected(Refusal(
          400,
          fmt::format("input: text {} has {} tokens; the model reads at most {}", i, input.ids.size(), rules.limit),
          "input", "context_length_exceeded"));
    }
    inputs.push_back(std::move(input));
  }
  return inputs;
}

Answer<embed::EmbedOptions> read_options(const Json& body, const ServedModel& model, const std::string& prompt) {
  const embed::Settings& settings = *model.settings;
  const auto wanted = value_of<int64_t>(body, "dimensions", 0);
  const int64_t size = embed::embedding_size(*model.model, settings);
  if (auto fits = embed::check_dimensions(settings, size, wanted, false); !fits)
    return refuse(400, "dimensions", "{}", fits.error().text());
  embed::EmbedOptions options{.pooling = settings.pooling,
                              .normalize = settings.normalize,
                              .dimensions = wanted > 0 ? wanted : settings.own_dimensions};
  if (!settings.pools_prompt && !prompt.empty()) {
    LAMINA_ASSIGN(options.skipped, embed::prompt_rows(model.tokenizer, prompt));
  }
  return options;
}

}  // namespace

std::span<const Field> embeddings_fields() {
  return kFields;
}

Answer<Reply> answer_embeddings(Call& call) {
  LAMINA_ASSIGN(const size_t index, call.find_model({Task::kEmbed}));
  const ServedModel& model = call.model(index);
  auto prompt = embed::find_prompt(*model.settings, value_of<std::string>(call.body, "prompt_name", ""));
  if (!prompt) return refuse(400, "prompt_name", "{}", prompt.error().text());
  LAMINA_ASSIGN(const embed::EmbedOptions options, read_options(call.body, model, *prompt));
  LAMINA_ASSIGN(std::vector<embed::Input> inputs, read_inputs(call.body, model, *prompt));
  LAMINA_ASSIGN(const auto vectors, run_inputs(call, index, std::move(inputs), options));
  const auto format = value_of<std::string>(call.body, "encoding_format", "float");
  Json data = Json::array();
  for (size_t i = 0; i < vectors.size(); ++i) {
    Json entry{{"object", "embedding"}, {"index", i}};
    entry.update(code_vector(vectors[i], format));
    data.push_back(std::move(entry));
  }
  const int64_t tokens = call.record->prompt_tokens;
  return json_reply({{"object", "list"},
                     {"data", std::move(data)},
                     {"model", model.name},
                     {"usage", {{"prompt_tokens", tokens}, {"total_tokens", tokens}}}});
}

}  // namespace lamina::serve
