#include "core/clock.h"
#include "lamina/cli.h"
#include "lamina/commands.h"
#include "lamina/grammar_options.h"
#include "lamina/store.h"
#include "models/vocabulary.h"
#include "run/random.h"

namespace lamina::app {

namespace {

using core::Result;
using core::Status;

struct CheckOptions {
  std::string model;
  GrammarOptions grammar;
  std::string texts;
  int64_t samples = 0;
  int64_t tokens = 512;
  uint64_t seed = 0;
  bool json = false;
};

/// Whether each of a JSON list of texts keeps to the grammar.
Result<nlohmann::ordered_json> check_texts(const CheckOptions& options, const text::GrammarProgram& program) {
  LAMINA_ASSIGN(const std::string source, read_file(options.texts));
  const auto list = nlohmann::ordered_json::parse(source, nullptr, false);
  if (!list.is_array()) return core::fail(core::ErrorCode::kInvalid, options.texts, "a JSON list of texts expected");
  nlohmann::ordered_json out = nlohmann::ordered_json::array();
  for (const auto& one : list) {
    if (!one.is_string()) return core::fail(core::ErrorCode::kInvalid, options.texts, "a JSON list of texts expected");
    text::GrammarMachine machine(program);
    const int32_t place = machine.step(machine.begin(), one.get_ref<const std::string&>());
    out.push_back(place >= 0 && machine.ends(place));
  }
  return out;
}

/// A token out of those that are allowed; now and then one that may close what is open, so that texts come to an end.
int32_t draw(std::span<const uint64_t> allowed, const text::Tokenizer& tokenizer, uint64_t bits) {
  std::vector<int32_t> all;
  std::vector<int32_t> closing;
  for (size_t i = 0; i < allowed.size() * 64; ++i) {
    if ((allowed[i / 64] >> (i % 64) & 1) == 0) continue;
    const auto token = static_cast<int32_t>(i);
    all.push_back(token);
    const std::string piece = tokenizer.piece(token);
    if (tokenizer.is_end(token) ||
        (!piece.empty() && std::string_view("\"}]").find(piece[0]) != std::string_view::npos))
      closing.push_back(token);
  }
  if (all.empty()) return -1;
  const std::vector<int32_t>& from = !closing.empty() && bits % 4 == 0 ? closing : all;
  return from[(bits >> 8) % from.size()];
}

/// Random texts that a model may be held to write; null where none came to its end.
Result<nlohmann::ordered_json> sample_texts(const CheckOptions& options,
                                            const std::shared_ptr<const text::TokenGrammar>& grammar,
                                            const text::Tokenizer& tokenizer) {
  nlohmann::ordered_json out = nlohmann::ordered_json::array();
  for (int64_t sample = 0; sample < options.samples; ++sample) {
    text::TokenMatcher matcher(grammar, true);
    text::StreamDecoder decoder(tokenizer);
    std::string text;
    bool ended = false;
    for (int64_t i = 0; i < options.tokens && !ended; ++i) {
      LAMINA_ASSIGN(const auto allowed, matcher.allowed());
      const int32_t token = draw(
          allowed, tokenizer, run::random_bits(options.seed, static_cast<uint64_t>(sample), static_cast<uint32_t>(i)));
      if (token < 0 || !matcher.accept(token))
        return core::fail(core::ErrorCode::kInvalid, "grammar", "no token goes on behind: {}", text);
      if (!tokenizer.is_end(token)) text += decoder.push(token);
      ended = tokenizer.is_end(token) || matcher.finished();
    }
    text += decoder.finish();
    out.push_back(ended ? nlohmann::ordered_json(text) : nlohmann::ordered_json());
  }
  return out;
}

Status check_grammar(const CheckOptions& options) {
  if (!options.grammar.any())
    return core::fail(core::ErrorCode::kInvalid, "grammar",
                      "--json-schema, --regex, --grammar or --json-object expected");
  const core::Stopwatch watch;
  LAMINA_ASSIGN(const std::filesystem::path path, resolve_model(options.model));
  LAMINA_ASSIGN(const text::Tokenizer tokenizer, models::load_tokenizer(path));
  const double loaded = watch.seconds();
  LAMINA_ASSIGN(const std::shared_ptr<const text::TokenGrammar> grammar,
                read_token_grammar(options.grammar, tokenizer));
  nlohmann::ordered_json out{{"nodes", grammar->program().nodes.size()},
                             {"compile_ms", (watch.seconds() - loaded) * 1e3}};
  if (!options.texts.empty()) {
    LAMINA_ASSIGN(out["accepted"], check_texts(options, grammar->program()));
  }
  if (options.samples > 0) {
    LAMINA_ASSIGN(out["samples"], sample_texts(options, grammar, tokenizer));
  }
  if (options.json) {
    print_json(out);
    return {};
  }
  fmt::print("{} nodes, compiled in {:.1f} ms\n", grammar->program().nodes.size(), out["compile_ms"].get<double>());
  for (const char* key : {"accepted", "samples"}) {
    if (!out.contains(key)) continue;
    for (const auto& one : out[key]) fmt::print("{}\n", one.is_string() ? one.get<std::string>() : one.dump());
  }
  return {};
}

}  // namespace

void add_grammar(CLI::App& app, int& exit_status) {
  auto options = std::make_shared<CheckOptions>();
  CLI::App* command = add_command(app, "grammar", "check what a schema, an expression or a grammar allows",
                                  "  lamina grammar smollm2-135m --json-schema person.json --samples 3\n"
                                  "  lamina grammar smollm2-135m --regex \"[0-9]{4}\" --texts texts.json");
  command->add_option("MODEL", options->model, "a model, or a folder with tokenizer files")->required();
  add_grammar_options(*command, options->grammar);
  command->add_option("--texts", options->texts, "a JSON list of texts: tell which keep to it");
  command->add_option("--samples", options->samples, "so many random texts that keep to it")
      ->check(CLI::Range(0, 100'000));
  command->add_option("-n,--tokens", options->tokens, "tokens of a sample at most")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  command->add_option("--seed", options->seed, "the same seed gives the same samples")->capture_default_str();
  add_json_option(*command, options->json);
  command->callback([options, &exit_status] { exit_status = exit_status_of(check_grammar(*options)); });
}

}  // namespace lamina::app
