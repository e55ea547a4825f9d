#include <algorithm>
#include <memory>
#include <optional>
#include <set>

#include "format/npy.h"
#include "lamina/commands.h"
#include "lamina/frames.h"
#include "lamina/session.h"

namespace lamina::app {

namespace {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

constexpr int64_t kStepRows = 64;

struct LogitsOptions {
  CommonOptions common;
  std::vector<int32_t> tokens;
  std::string text;
  std::string file;
  std::vector<int32_t> encoder_tokens;
  std::string encoder_text;
  std::string mel;
  std::string out;
  std::string hidden;
  std::string hidden_out;
};

/// Keeps the stream after the layers that were asked for.
class KeepHidden : public run::BorderHook {
 public:
  KeepHidden(std::vector<int> layers, int64_t tokens, int64_t hidden)
      : layers_(std::move(layers)), values_(layers_.size() * static_cast<size_t>(tokens * hidden)), tokens_(tokens) {}

  void at_border(const run::Border& border, float* stream) override {
    for (size_t i = 0; i < layers_.size(); ++i) {
      if (layers_[i] != border.layer) continue;
      const auto begin = (static_cast<int64_t>(i) * tokens_ + border.groups.front().first_position) * border.hidden;
      std::copy_n(stream, border.rows * border.hidden, values_.begin() + begin);
    }
  }
  const std::vector<float>& values() const { return values_; }
  const std::vector<int>& layers() const { return layers_; }

 private:
  std::vector<int> layers_;
  std::vector<float> values_;
  int64_t tokens_;
};

Result<std::vector<int>> parse_layers(const std::string& text, int layers) {
  std::vector<int> chosen;
  if (text == "all") {
    for (int i = 0; i < layers; ++i) chosen.push_back(i);
    return chosen;
  }
  for (const std::string& part : CLI::detail::split(text, ',')) {
    int layer = -1;
    if (!CLI::detail::lexical_cast(part, layer) || layer < 0 || layer >= layers) {
      return fail(ErrorCode::kInvalid, "--hidden", "\"{}\" is no layer; \"all\" or layers from 0 to {} expected", part,
                  layers - 1);
    }
    chosen.push_back(layer);
  }
  return chosen;
}

Result<std::vector<int32_t>> input_tokens(const LogitsOptions& options, const Session& session) {
  if (!options.tokens.empty()) return options.tokens;
  std::string text = options.text;
  if (!options.file.empty()) {
    LAMINA_ASSIGN(text, read_file(options.file));
  }
  return session.tokenizer->encode(text, {.add_special = true, .parse_special = false});
}

/// The decoder's own text begins with a token that no text makes, so it comes as tokens.
Status check_encoder_inputs(const LogitsOptions& options, const models::Model& model) {
  const int tokens = (options.encoder_tokens.empty() ? 0 : 1) + (options.encoder_text.empty() ? 0 : 1);
  const int frames = options.mel.empty() ? 0 : 1;
  if (model.encoder() == nullptr) {
    if (tokens + frames == 0) return {};
    return fail(ErrorCode::kInvalid, "logits",
                "the model has no encoder; --encoder-tokens, --encoder-text and --mel are for one");
  }
  const bool hears = reads_frames(model);
  if (options.tokens.empty() || tokens != (hears ? 0 : 1) || frames != (hears ? 1 : 0)) {
    return fail(ErrorCode::kInvalid, "logits", "the model needs --tokens and {}",
                hears ? "--mel" : "one of --encoder-tokens and --encoder-text");
  }
  return {};
}

/// A new sequence, whose encoder has read what it is to read.
Result<cache::SequenceId> open_sequence(Session& session, const LogitsOptions& options) {
  LAMINA_ASSIGN(const cache::SequenceId sequence, session.runner->open());
  if (session.model->encoder() == nullptr) return sequence;
  if (!options.mel.empty()) {
    LAMINA_ASSIGN(const std::vector<float> frames, read_frames(options.mel, *session.model));
    LAMINA_CHECK_OK(session.runner->encode_frames(sequence, frames));
    return sequence;
  }
  std::vector<int32_t> source = options.encoder_tokens;
  if (source.empty()) {
    LAMINA_ASSIGN(source,
                  session.tokenizer->encode(options.encoder_text, {.add_special = true, .parse_special = false}));
  }
  std::vector<run::BatchRow> rows;
  for (const int32_t token : source) rows.push_back({.token = token, .sequence = sequence});
  LAMINA_CHECK_OK(session.runner->encode(rows));
  return sequence;
}

/// Runs the tokens in steps, an encoder's all in one, and writes each step's logits to the writer, if there is one.
Status run_tokens(Session& session, cache::SequenceId sequence, const std::vector<int32_t>& tokens,
                  format::NpyWriter* writer) {
  const int64_t step = session.runner->options().max_rows;
  const auto outputs = static_cast<size_t>(writer == nullptr ? 0 : session.model->head().outputs());
  std::vector<run::BatchRow> rows;
  std::vector<float> logits(static_cast<size_t>(std::min(step, std::ssize(tokens))) * outputs);
  for (size_t at = 0; at < tokens.size(); at += rows.size()) {
    rows.clear();
    for (size_t i = at; i < std::min(at + static_cast<size_t>(step), tokens.size()); ++i) {
      rows.push_back({.token = tokens[i], .sequence = sequence, .wants_logits = writer != nullptr});
    }
    LAMINA_CHECK_OK(session.runner->step(rows, logits));
    if (writer == nullptr) continue;
    LAMINA_CHECK_OK(writer->write_rows(std::span<const float>(logits).first(rows.size() * outputs)));
  }
  return {};
}

Status check_options(const LogitsOptions& options) {
  const int inputs = (options.tokens.empty() ? 0 : 1) + (options.text.empty() ? 0 : 1) + (options.file.empty() ? 0 : 1);
  if (inputs != 1)
    return fail(ErrorCode::kInvalid, "logits", "{} inputs; one of --tokens, --text and --file expected", inputs);
  if (options.hidden.empty() != options.hidden_out.empty()) {
    return fail(ErrorCode::kInvalid, "logits", "--hidden and --hidden-out go together; one is missing");
  }
  if (options.out.empty() && options.hidden.empty())
    return fail(ErrorCode::kInvalid, "logits", "--out is required unless --hidden is given");
  return {};
}

/// Logits over the vocabulary: those of an encoder's masked-LM head too.
Status check_head(const LogitsOptions& options, const models::Model& model) {
  if (options.out.empty() || (model.head().outputs() > 0 && !model.head().labels())) return {};
  return fail(ErrorCode::kUnsupported, model.files().path().string(),
              "no head over the vocabulary; only --hidden without --out can be had");
}

/// Writes both files.
Status write_files(const LogitsOptions& options, Session& session, const std::vector<int32_t>& tokens,
                   const KeepHidden* hook) {
  LAMINA_ASSIGN(const cache::SequenceId sequence, open_sequence(session, options));
  std::optional<format::NpyWriter> writer;
  if (!options.out.empty()) {
    const std::array<int64_t, 1> row{session.model->vocabulary()};
    LAMINA_ASSIGN(writer, format::NpyWriter::create(options.out, format::NpyType::kFloat32, row));
  }
  std::optional<format::NpyWriter> hidden_writer;
  if (hook != nullptr) {
    const std::array<int64_t, 2> layer{std::ssize(tokens), session.model->hidden()};
    LAMINA_ASSIGN(hidden_writer, format::NpyWriter::create(options.hidden_out, format::NpyType::kFloat32, layer));
  }
  LAMINA_CHECK_OK(run_tokens(session, sequence, tokens, writer ? &*writer : nullptr));
  if (hook != nullptr) {
    LAMINA_CHECK_OK(hidden_writer->write_rows(hook->values()));
    LAMINA_CHECK_OK(hidden_writer->finish());
  }
  return writer ? writer->finish() : Status();
}

void print_files(const LogitsOptions& options, const Session& session, int64_t tokens, const KeepHidden* hook) {
  const int64_t vocabulary = session.model->vocabulary();
  nlohmann::ordered_json out{{"tokens", tokens}, {"vocabulary", vocabulary}};
  if (!options.out.empty()) out["out"] = options.out;
  if (hook != nullptr) out["hidden"] = {{"layers", hook->layers()}, {"out", options.hidden_out}};
  if (options.common.json) {
    print_json(out);
  } else if (!options.out.empty()) {
    fmt::print("{}: float32 [{}, {}]\n", options.out, tokens, vocabulary);
  } else {
    fmt::print("{}: float32 [{}, {}, {}]\n", options.hidden_out, hook->layers().size(), tokens,
               session.model->hidden());
  }
}

Status logits_command(const LogitsOptions& options) {
  LAMINA_CHECK_OK(check_options(options));
  LAMINA_ASSIGN(Session session,
                prepare_session(options.common, options.tokens.empty() || !options.encoder_text.empty()));
  LAMINA_CHECK_OK(check_head(options, *session.model));
  LAMINA_CHECK_OK(check_encoder_inputs(options, *session.model));
  LAMINA_ASSIGN(const std::vector<int32_t> tokens, input_tokens(options, session));
  const int64_t count = std::ssize(tokens);
  const int64_t rows = session.model->reads_ahead() ? std::max(count, kStepRows) : kStepRows;
  LAMINA_CHECK_OK(start_session(
      session, options.common,
      {.context = int64_t{1} << 24, .max_rows = rows, .tokenizer = false, .encoder = true, .encoder_decoder = true}));
  if (count == 0 || count > session.context())
    return fail(ErrorCode::kLimit, "logits", "{} tokens; 1 to {} expected", count, session.context());
  std::unique_ptr<KeepHidden> hook;
  if (!options.hidden.empty()) {
    LAMINA_ASSIGN(std::vector<int> layers,
                  parse_layers(options.hidden, static_cast<int>(session.model->layers().size())));
    hook = std::make_unique<KeepHidden>(std::move(layers), count, session.model->hidden());
    session.runner->set_hook(hook.get());
  }
  LAMINA_CHECK_OK(write_files(options, session, tokens, hook.get()));
  print_files(options, session, count, hook.get());
  return {};
}

}  // namespace

void add_logits(CLI::App& app, int& exit_status) {
  auto options = std::make_shared<LogitsOptions>();
  CLI::App* command = add_command(
      app, "logits", "write the logits of every position, and the stream after layers",
      "  lamina logits model.gguf --text \"The capital of France is\" --out logits.npy\n"
      "  lamina logits model.gguf --tokens 1,2,3 --out l.npy --hidden 0,5 --hidden-out h.npy\n"
      "  lamina logits t5-folder --encoder-text \"translate English to German: Hello\" --tokens 0 --out l.npy");
  add_model_options(*command, options->common);
  command->add_option("--tokens", options->tokens, "token ids, 1,2,3")->delimiter(',');
  command->add_option("--text", options->text, "a text to tokenize");
  command->add_option("--file", options->file, "a file with the text");
  command->add_option("--encoder-tokens", options->encoder_tokens, "what an encoder-decoder's encoder reads, 1,2,3")
      ->delimiter(',');
  command->add_option("--encoder-text", options->encoder_text, "the same as a text to tokenize");
  command->add_option("--mel", options->mel, "the same as a spectrogram, float32 .npy [features, frames]");
  command->add_option("--out", options->out, "float32 .npy [tokens, vocabulary]");
  command->add_option("--hidden", options->hidden, "\"all\", or layers 3,7");
  command->add_option("--hidden-out", options->hidden_out, "float32 .npy [layers, tokens, hidden]");
  command->callback([options, &exit_status] { exit_status = exit_status_of(logits_command(*options)); });
}

}  // namespace lamina::app
