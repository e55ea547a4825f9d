#include <algorithm>
#include <memory>

#include "embed/embedder.h"
#include "format/npy.h"
#include "lamina/commands.h"
#include "lamina/encode_texts.h"
#include "lamina/session.h"

namespace lamina::app {

namespace {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

struct EmbedCommand {
  CommonOptions common;
  std::vector<std::string> texts;
  std::string file;
  std::string pooling;
  std::string prompt_name;
  std::string out;
  int64_t dimensions = 0;
  bool force_dimensions = false;
  bool no_normalize = false;
  bool truncate = false;
};

Result<std::vector<std::string>> read_texts(const EmbedCommand& command) {
  std::vector<std::string> texts = command.texts;
  if (!command.file.empty()) {
    LAMINA_ASSIGN(const std::string content, read_file(command.file));
    for (size_t begin = 0; begin < content.size();) {
      const size_t end = std::min(content.find('\n', begin), content.size());
      texts.push_back(content.substr(begin, end - begin));
      begin = end + 1;
    }
  }
  if (texts.empty()) return fail(ErrorCode::kInvalid, "embed", "no text; TEXT or --file expected");
  return texts;
}

/// The prompt of that name, else the model's default one, else none.
Result<std::string> choose_prompt(const EmbedCommand& command, const embed::Settings& settings) {
  const std::string& name = command.prompt_name.empty() ? settings.default_prompt : command.prompt_name;
  if (name.empty()) return std::string();
  if (const auto found = settings.prompts.find(name); found != settings.prompts.end()) return found->second;
  std::string names;
  for (const auto& [known, prompt] : settings.prompts) names += (names.empty() ? "" : ", ") + known;
  return fail(ErrorCode::kInvalid, "--prompt-name", "\"{}\" is unknown; {} expected", name,
              names.empty() ? "none" : names);
}

/// A vector may be cut only where the model was trained for it.
Status check_dimensions(const EmbedCommand& command, const embed::Settings& settings, const models::Model& model) {
  const int64_t size = embed::embedding_size(model, settings);
  if (command.dimensions == 0 || command.dimensions == size) return {};
  if (command.dimensions > size) {
    return fail(ErrorCode::kInvalid, "--dimensions", "{}; the vectors have {}", command.dimensions, size);
  }
  const bool trained = settings.any_dimensions ||
                       std::ranges::find(settings.dimensions, command.dimensions) != settings.dimensions.end();
  if (trained || command.force_dimensions) return {};
  return fail(ErrorCode::kInvalid, "--dimensions",
              "{}; the model does not say that the first {} of {} numbers stand alone, --force-dimensions cuts anyway",
              command.dimensions, command.dimensions, size);
}

Result<embed::EmbedOptions> choose_options(const EmbedCommand& command, const embed::Settings& settings,
                                           const text::Tokenizer& tokenizer, const std::string& prompt) {
  embed::EmbedOptions options{.pooling = settings.pooling,
                              .normalize = settings.normalize && !command.no_normalize,
                              .dimensions = command.dimensions,
                              .skipped = 0};
  if (!command.pooling.empty()) {
    LAMINA_ASSIGN(options.pooling, embed::find_pooling(command.pooling));
  }
  if (!settings.pools_prompt && !prompt.empty()) {
    LAMINA_ASSIGN(const std::vector<int32_t> ids, tokenizer.encode(prompt));
    options.skipped = static_cast<int64_t>(ids.size()) - (!ids.empty() && tokenizer.is_special(ids.back()) ? 1 : 0);
  }
  return options;
}

Status write_vectors(const EmbedCommand& command, const std::vector<std::vector<float>>& vectors) {
  if (!command.out.empty()) {
    const std::array<int64_t, 1> row{static_cast<int64_t>(vectors.front().size())};
    LAMINA_ASSIGN(format::NpyWriter writer, format::NpyWriter::create(command.out, format::NpyType::kFloat32, row));
    for (const auto& vector : vectors) LAMINA_CHECK_OK(writer.write_rows(std::span<const float>(vector)));
    LAMINA_CHECK_OK(writer.finish());
  }
  if (command.common.json) {
    print_json({{"embeddings", vectors}});
  } else if (!command.out.empty()) {
    fmt::print("{}: float32 [{}, {}]\n", command.out, vectors.size(), vectors.front().size());
  } else {
    for (const auto& vector : vectors) fmt::print("{}\n", nlohmann::json(vector).dump());
  }
  return {};
}

Status embed_command(const EmbedCommand& command) {
  LAMINA_ASSIGN(std::vector<std::string> texts, read_texts(command));
  LAMINA_ASSIGN(Session session, prepare_session(command.common, true));
  LAMINA_ASSIGN(const embed::Settings settings, embed::read_settings(*session.model));
  LAMINA_CHECK_OK(check_dimensions(command, settings, *session.model));
  LAMINA_ASSIGN(const std::string prompt, choose_prompt(command, settings));
  LAMINA_ASSIGN(const embed::EmbedOptions options, choose_options(command, settings, *session.tokenizer, prompt));
  LAMINA_ASSIGN(const int64_t limit, text_limit(command.common, settings.limit, *session.model));
  std::vector<embed::Input> inputs;
  for (size_t i = 0; i < texts.size(); ++i) {
    LAMINA_ASSIGN(embed::Input input, encode_text(*session.tokenizer, prompt + texts[i], {i, limit, command.truncate}));
    inputs.push_back(std::move(input));
  }
  LAMINA_CHECK_OK(start_session(session, command.common, encoder_needs(limit, *session.model)));
  LAMINA_ASSIGN(const auto vectors, embed::embed(*session.runner, settings, options, inputs));
  return write_vectors(command, vectors);
}

}  // namespace

void add_embed(CLI::App& app, int& exit_status) {
  auto options = std::make_shared<EmbedCommand>();
  CLI::App* command =
      add_command(app, "embed", "turn texts into vectors",
                  "  lamina embed minilm-l6 \"A man is eating food.\" \"A girl is carrying a baby.\" --json\n"
                  "  lamina embed minilm-l6 --file lines.txt --out vectors.npy");
  add_model_options(*command, options->common);
  command->add_option("TEXT", options->texts, "the texts");
  command->add_option("--file", options->file, "a file with a text a line, - for standard input");
  command->add_option("--pooling", options->pooling,
                      "cls, mean, mean_sqrt_len, max, last or weighted_mean; the model's own by default");
  command
      ->add_option("--dimensions", options->dimensions,
                   "keep the first so many numbers, where the model is trained for it")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20));
  command->add_flag("--force-dimensions", options->force_dimensions, "cut vectors of any model");
  command->add_flag("--no-normalize", options->no_normalize, "leave the length of vectors as it is");
  command->add_option("--prompt-name", options->prompt_name, "which of the model's prompts to put before each text");
  command->add_flag("--truncate", options->truncate, "cut texts that are too long instead of refusing them");
  command->add_option("--out", options->out, "float32 .npy [texts, dimensions]");
  command->callback([options, &exit_status] { exit_status = exit_status_of(embed_command(*options)); });
}

}  // namespace lamina::app
