#include <fmt/format.h>
#include <unistd.h>

#include <iostream>
#include <memory>

#include "lamina/chat.h"
#include "lamina/commands.h"
#include "lamina/conversation.h"
#include "lamina/draft.h"
#include "lamina/frames.h"
#include "lamina/generation_options.h"
#include "lamina/grammar_options.h"
#include "lamina/profile.h"
#include "lamina/session.h"

namespace lamina::app {

namespace {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

struct RunOptions {
  CommonOptions common;
  GenerationOptions generation;
  GrammarOptions grammar;
  std::string prompt;
  std::string system;
  std::string mel;
  bool raw = false;
  bool profile = false;
  std::string trace;
};

/// The prompt's tokens: as plain text, or as a user's message in the model's chat template.
Result<std::vector<int32_t>> prompt_tokens(const RunOptions& options, const Session& session) {
  if (options.raw) return session.tokenizer->encode(options.prompt, {.add_special = true, .parse_special = true});
  LAMINA_ASSIGN(Conversation conversation, Conversation::create(session.model->files(), *session.tokenizer));
  if (!options.system.empty()) conversation.add("system", options.system);
  conversation.add("user", options.prompt);
  return conversation.tokens();
}

/// What a model reads before it writes.
struct Input {
  std::vector<int32_t> prompt;
  std::vector<int32_t> source{};  ///< of an encoder
  cache::SequenceId sequence{};   ///< that has heard the frames, where there are some
};

/// The prompt is what an encoder reads, if there is one; where that reads frames, it is how the answer begins.
Result<Input> read_input(const RunOptions& options, Session& session) {
  const bool frames = reads_frames(*session.model);
  if (frames && options.mel.empty())
    return fail(ErrorCode::kInvalid, "run", "the model's encoder reads a spectrogram; --mel F.npy expected");
  if (!options.system.empty() && (options.raw || frames))
    return fail(ErrorCode::kInvalid, "--system", "only a chat template has a place for it; none is used here");
  const int32_t start = session.model->start_token();
  if (options.mel.empty()) {
    LAMINA_ASSIGN(std::vector<int32_t> tokens, prompt_tokens(options, session));
    if (session.model->encoder() == nullptr) return Input{.prompt = std::move(tokens)};
    return Input{.prompt = {start}, .source = std::move(tokens)};
  }
  LAMINA_ASSIGN(const std::vector<float> values, read_frames(options.mel, *session.model));
  Input input{.prompt = {start}};
  LAMINA_ASSIGN(const std::vector<int32_t> begin,
                session.tokenizer->encode(options.prompt, {.add_special = false, .parse_special = true}));
  input.prompt.insert(input.prompt.end(), begin.begin(), begin.end());
  LAMINA_ASSIGN(input.sequence, session.runner->open());
  LAMINA_CHECK_OK(session.runner->encode_frames(input.sequence, values));
  return input;
}

double per_second(double tokens, double seconds) {
  return seconds > 0 ? tokens / seconds : 0.0;
}

nlohmann::ordered_json result_json(const Session& session, size_t prompt_size, const run::Generation& generation) {
  const auto completion = static_cast<double>(generation.tokens.size());
  nlohmann::ordered_json out{{"text", generation.text},
                             {"tokens", generation.tokens},
                             {"prompt_tokens", prompt_size},
                             {"completion_tokens", generation.tokens.size()},
                             {"finish_reason", run::finish_reason_name(generation.finish)}};
  out["timings"] = {{"load_ms", 1e3 * session.load_seconds},
                    {"ttft_ms", 1e3 * generation.prompt_seconds},
                    {"prompt_tps", per_second(static_cast<double>(prompt_size), generation.prompt_seconds)},
                    {"decode_tps", per_second(completion - 1, generation.decode_seconds)}};
  if (session.speculation) out["draft"] = draft_json(session.speculation->counts());
  if (!generation.route.empty())
    out["router"] = {{"route", recipe::route_text(generation.route)},
                     {"visits", generation.route.size()},
                     {"all_visits", session.plan.route.size()}};
  return out;
}

/// Where the time went, apart for the steps that read the prompt and for those that wrote the answer. The answer has
/// standard output for itself.
Status report_profile(const RunOptions& options, Session& session, const layers::Profile& profile,
                      nlohmann::ordered_json& out) {
  if (!options.trace.empty()) {
    Trace trace;
    trace.add("last step", profile);
    LAMINA_CHECK_OK(trace.write(options.trace));
  }
  if (!options.profile) return {};
  LAMINA_ASSIGN(run::ReadMeter meter, run::ReadMeter::create(*session.pool));
  const run::MachinePeaks peaks = run::measure_peaks(*session.pool, meter);
  for (const auto& [name, kind] :
       {std::pair{"reading", layers::StepKind::kReading}, {"writing", layers::StepKind::kWriting}}) {
    out["profile"][name] = profile_json(profile.sums(kind), peaks);
    if (options.common.json || profile.sums(kind).steps == 0) continue;
    fmt::print(stderr, "\n{}: {} steps\n", name, profile.sums(kind).steps);
    print_profile(profile.sums(kind), peaks, stderr);
  }
  return {};
}

Status print_result(const RunOptions& options, Session& session, size_t prompt_size, const run::Generation& generation,
                    const layers::Profile& profile) {
  nlohmann::ordered_json out = result_json(session, prompt_size, generation);
  if (!options.common.json) {
    std::cout << '\n' << std::flush;
    if (isatty(STDERR_FILENO) != 0) {
      fmt::print(stderr, "\n[{} + {} tokens, {:.0f} + {:.1f} tokens/s, first after {:.0f} ms]\n", prompt_size,
                 generation.tokens.size(), out["timings"]["prompt_tps"].get<double>(),
                 out["timings"]["decode_tps"].get<double>(), 1e3 * (session.load_seconds + generation.prompt_seconds));
      if (session.speculation) fmt::print(stderr, "[{}]\n", draft_text(session.speculation->counts()));
      if (!generation.route.empty())
        fmt::print(stderr, "[written by {} visits of layers, all once would be {}: {}]\n", generation.route.size(),
                   session.plan.route.size(), recipe::route_text(generation.route));
    }
  }
  LAMINA_CHECK_OK(report_profile(options, session, profile, out));
  if (options.common.json) print_json(out);
  return {};
}

Status answer(const RunOptions& options, Session& session) {
  LAMINA_ASSIGN(Input input, read_input(options, session));
  const size_t prompt_size = input.source.empty() ? input.prompt.size() : input.source.size();
  LAMINA_ASSIGN(std::shared_ptr<const text::TokenGrammar> grammar,
                read_token_grammar(options.grammar, *session.tokenizer));
  run::Engine engine(*session.runner, &*session.tokenizer, session.speculation.get());
  if (session.router) LAMINA_CHECK_OK(engine.set_router(*session.router));
  run::GenerationRequest request{.prompt = std::move(input.prompt),
                                 .source = std::move(input.source),
                                 .sampling = options.generation.sampling,
                                 .max_tokens = options.generation.tokens,
                                 .stops = options.generation.stops,
                                 .ignore_end = false,
                                 .grammar = std::move(grammar),
                                 .sink = {}};
  if (!options.common.json) {
    request.sink = [](std::string_view text) {
      std::cout << text << std::flush;
      return std::cout.good();
    };
  }
  layers::Profile profile;
  if (options.profile || !options.trace.empty()) session.runner->set_profile(&profile);
  LAMINA_ASSIGN(const size_t index, engine.submit(std::move(request), input.sequence));
  LAMINA_CHECK_OK(engine.finish());
  return print_result(options, session, prompt_size, engine.result(index), profile);
}

Status run_command(RunOptions& options, bool has_prompt) {
  const bool wants_prompt = !has_prompt && options.mel.empty();
  const bool chat = wants_prompt && !options.common.json && isatty(STDIN_FILENO) != 0;
  if (wants_prompt && !chat) {
    LAMINA_ASSIGN(options.prompt, read_file("-"));
  }
  LAMINA_ASSIGN(Session session,
                open_session(options.common, {.drafts = true, .routers = true, .encoder_decoder = true}));
  LAMINA_ASSIGN(session.speculation, open_speculation(session, options.common));
  if (chat && (options.profile || !options.trace.empty()))
    return fail(ErrorCode::kUnsupported, "--profile", "a chat has none; a PROMPT expected");
  if (chat && session.plan.router) {
    return fail(ErrorCode::kUnsupported, "recipe",
                "route:first, route:drllm: a chat goes on from what it has computed, by another route; a PROMPT "
                "expected");
  }
  if (chat && options.grammar.any())
    return fail(ErrorCode::kUnsupported, "run", "a chat keeps to no grammar; a PROMPT expected");
  if (chat && session.model->encoder() != nullptr)
    return fail(ErrorCode::kUnsupported, options.common.model, "an encoder-decoder has no chat; a PROMPT expected");
  if (chat) return run_chat(session, options.generation, options.system);
  return answer(options, session);
}

}  // namespace

void add_run(CLI::App& app, int& exit_status) {
  auto options = std::make_shared<RunOptions>();
  CLI::App* command = add_command(app, "run", "answer a prompt, or chat on a terminal",
                                  "  lamina run smollm2-135m \"Name three primary colours.\"\n"
                                  "  lamina run model.gguf                      (a chat)\n"
                                  "  cat question.txt | lamina run model.gguf --temperature 0\n"
                                  "  lamina run flan-t5-folder --raw \"translate English to German: Good morning.\"\n"
                                  "  lamina run smollm2-135m --json-schema person.json \"Invent a person.\"\n"
                                  "  lamina run model.gguf --recipe \"L9.attn:drop\" --raw \"Once upon a time\"\n"
                                  "  lamina run model.gguf --recipe \"draft:ngram\" --raw < code.py");
  add_model_options(*command, options->common);
  add_generation_options(*command, options->generation);
  add_grammar_options(*command, options->grammar);
  CLI::Option* prompt =
      command->add_option("PROMPT", options->prompt, "what to answer; without it a chat, or standard input");
  command->add_option("--system", options->system, "the system message");
  command->add_option(
      "--mel", options->mel,
      "for a model that hears: a spectrogram, float32 .npy [features, frames]; PROMPT begins the answer");
  command->add_flag("--raw", options->raw, "complete the text itself, without chat template");
  add_profile_options(*command, options->profile, options->trace);
  command->callback(
      [options, prompt, &exit_status] { exit_status = exit_status_of(run_command(*options, prompt->count() > 0)); });
}

}  // namespace lamina::app
