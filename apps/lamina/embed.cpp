#include <algorithm>
#include <memory>

#include "embed/embedder.h"
#include "embed/encode.h"
#include "format/npy.h"
#include "lamina/commands.h"
#include "lamina/session.h"
#include "lamina/text_needs.h"

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
  bool force = false;
  bool no_normalize = false;
  bool truncate = false;
  int repeat = 1;
};

/// The vectors, and what making them took.
struct Embedded {
  std::vector<std::vector<float>> vectors;
  size_t tokens = 0;
  std::vector<double> milliseconds{};  ///< of each time: tokenizing, running, pooling
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

Result<embed::EmbedOptions> choose_options(const EmbedCommand& command, const embed::Settings& settings,
                                           const text::Tokenizer& tokenizer, const std::string& prompt) {
  embed::EmbedOptions options{.pooling = settings.pooling,
                              .normalize = settings.normalize && !command.no_normalize,
                              .dimensions = command.dimensions > 0 ? command.dimensions : settings.own_dimensions,
                              .skipped = 0};
  if (!command.pooling.empty()) {
    LAMINA_ASSIGN(options.pooling, embed::find_pooling(command.pooling));
  }
  if (!settings.pools_prompt && !prompt.empty()) {
    LAMINA_ASSIGN(options.skipped, embed::prompt_rows(tokenizer, prompt));
  }
  return options;
}

Status write_vectors(const EmbedCommand& command, const Session& session, const Embedded& embedded) {
  const std::vector<std::vector<float>>& vectors = embedded.vectors;
  if (!command.out.empty()) {
    const std::array<int64_t, 1> row{static_cast<int64_t>(vectors.front().size())};
    LAMINA_ASSIGN(format::NpyWriter writer, format::NpyWriter::create(command.out, format::NpyType::kFloat32, row));
    for (const auto& vector : vectors) LAMINA_CHECK_OK(writer.write_rows(std::span<const float>(vector)));
    LAMINA_CHECK_OK(writer.finish());
  }
  if (command.common.json) {
    print_json({{"embeddings", vectors},
                {"timings",
                 {{"load_ms", 1e3 * session.load_seconds},
                  {"embed_ms", embedded.milliseconds},
                  {"tokens", embedded.tokens}}}});
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
  LAMINA_CHECK_OK(embed::check_dimensions(settings, embed::embedding_size(*session.model, settings), command.dimensions,
                                          command.force));
  LAMINA_ASSIGN(const std::string prompt, embed::find_prompt(settings, command.prompt_name));
  LAMINA_ASSIGN(const embed::EmbedOptions options, choose_options(command, settings, *session.tokenizer, prompt));
  LAMINA_ASSIGN(const int64_t limit, text_limit(command.common, settings.limit, *session.model));
  const auto encode = [&]() -> Result<std::vector<embed::Input>> {
    std::vector<embed::Input> inputs;
    for (size_t i = 0; i < texts.size(); ++i) {
      LAMINA_ASSIGN(embed::Input input,
                    embed::encode_text(*session.tokenizer, embed::prepare_text(settings, prompt, texts[i]),
                                       {.index = i, .limit = limit, .truncate = command.truncate}));
      inputs.push_back(std::move(input));
    }
    return inputs;
  };
  LAMINA_ASSIGN(std::vector<embed::Input> inputs, encode());  // texts that are refused are so before weights are loaded
  LAMINA_CHECK_OK(start_session(session, command.common, encoder_needs(limit, *session.model)));
  Embedded embedded;
  for (const embed::Input& input : inputs) embedded.tokens += input.ids.size();
  for (int i = 0; i < command.repeat; ++i) {
    const core::Stopwatch watch;
    LAMINA_ASSIGN(inputs, encode());
    LAMINA_ASSIGN(embedded.vectors, embed::embed(*session.runner, settings, options, inputs));
    embedded.milliseconds.push_back(watch.milliseconds());
  }
  return write_vectors(command, session, embedded);
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
  command->add_flag("--force", options->force, "cut vectors of a model that does not say that it was trained for it");
  command->add_flag("--no-normalize", options->no_normalize, "leave the length of vectors as it is");
  command->add_option("--prompt-name", options->prompt_name, "which of the model's prompts to put before each text");
  command->add_flag("--truncate", options->truncate, "cut texts that are too long instead of refusing them");
  command->add_option("--repeat", options->repeat, "embed so many times; --json tells how long each took")
      ->check(CLI::Range(1, 1000000));
  command->add_option("--out", options->out, "float32 .npy [texts, dimensions]");
  command->callback([options, &exit_status] { exit_status = exit_status_of(embed_command(*options)); });
}

}  // namespace lamina::app
