#include "lamina/chat.h"

#include <editline/readline.h>
#include <fmt/format.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <memory>

#include "lamina/conversation.h"

namespace lamina::app {

namespace {

using core::Result;
using core::Status;

std::atomic<bool> g_interrupted{false};

void interrupt(int) {
  g_interrupted.store(true);
}

/// Ctrl-C sets a flag while this lives: it stops an answer, and does nothing at the prompt.
class CatchInterrupt {
 public:
  CatchInterrupt() {
    struct sigaction action{};
    action.sa_handler = interrupt;
    action.sa_flags = SA_RESTART;
    sigaction(SIGINT, &action, &old_);
  }
  ~CatchInterrupt() { sigaction(SIGINT, &old_, nullptr); }
  CatchInterrupt(const CatchInterrupt&) = delete;
  CatchInterrupt& operator=(const CatchInterrupt&) = delete;

 private:
  struct sigaction old_{};
};

/// A line from the user, empty when Ctrl-C gave it up; nothing at the end of input.
std::optional<std::string> read_line() {
  g_interrupted.store(false);
  const std::unique_ptr<char, decltype(&std::free)> line(readline("> "), &std::free);
  if (!line && g_interrupted.load()) {
    fmt::print("\n");
    return std::string();
  }
  if (!line) return std::nullopt;
  if (*line != '\0') add_history(line.get());
  return std::string(line.get());
}

/// One chat: its messages, and the sequence whose cache holds those of the earlier turns.
class Chat {
 public:
  Chat(Session& session, const GenerationOptions& options, Conversation conversation)
      : session_(session), options_(options), conversation_(std::move(conversation)) {}

  /// Answers one message; an error leaves the conversation as it was before.
  Status turn(const std::string& message) {
    conversation_.add("user", message);
    auto generation = generate();
    if (!generation) {
      conversation_.drop_last();
      return std::unexpected(generation.error());
    }
    conversation_.add("assistant", generation->text);
    const double seconds = generation->decode_seconds;
    const double rate =
        seconds > 0 && !generation->tokens.empty() ? static_cast<double>(generation->tokens.size() - 1) / seconds : 0.0;
    fmt::print("\n\033[2m[{} tokens, {:.1f} tokens/s, {} of {} positions used]\033[0m\n", generation->tokens.size(),
               rate, computed_.size(), session_.context());
    return {};
  }

  void start_over(const std::string& system) {
    conversation_.clear();
    if (!system.empty()) conversation_.add("system", system);
  }

 private:
  Result<run::Generation> generate() {
    LAMINA_ASSIGN(std::vector<int32_t> prompt, conversation_.tokens());
    LAMINA_CHECK_OK(keep_common_prefix(prompt));
    run::Engine engine(*session_.runner, &*session_.tokenizer, session_.speculation.get());
    LAMINA_ASSIGN(const size_t index, engine.submit({.prompt = prompt,
                                                     .sampling = options_.sampling,
                                                     .max_tokens = options_.tokens,
                                                     .stops = options_.stops,
                                                     .ignore_end = false,
                                                     .sink =
                                                         [](std::string_view text) {
                                                           std::cout << text << std::flush;
                                                           return !g_interrupted.load();
                                                         }},
                                                    sequence_));
    g_interrupted.store(false);
    const Status status = engine.finish();
    computed_ = std::move(prompt);
    const run::Generation& generation = engine.result(index);
    computed_.insert(computed_.end(), generation.tokens.begin(), generation.tokens.end());
    computed_.resize(static_cast<size_t>(session_.runner->length(sequence_)));
    if (!status) return std::unexpected(status.error());
    return generation;
  }

  /// The cache keeps what the new prompt shares with what was computed before.
  Status keep_common_prefix(const std::vector<int32_t>& prompt) {
    if (sequence_ == cache::SequenceId{}) {
      LAMINA_ASSIGN(sequence_, session_.runner->open());
    }
    size_t same = 0;
    while (same < prompt.size() && same < computed_.size() && prompt[same] == computed_[same]) ++same;
    computed_.resize(static_cast<size_t>(session_.runner->truncate(sequence_, static_cast<int64_t>(same))));
    return {};
  }

  Session& session_;
  const GenerationOptions& options_;
  Conversation conversation_;
  cache::SequenceId sequence_{};
  std::vector<int32_t> computed_;
};

}  // namespace

Status run_chat(Session& session, const GenerationOptions& options, const std::string& system) {
  LAMINA_ASSIGN(Conversation conversation, Conversation::create(session.model->files(), *session.tokenizer));
  Chat chat(session, options, std::move(conversation));
  chat.start_over(system);
  const CatchInterrupt guard;
  fmt::print("Ctrl-C stops an answer; /clear starts over; Ctrl-D or /quit ends.\n");
  while (const std::optional<std::string> line = read_line()) {
    if (*line == "/quit") break;
    if (line->empty()) continue;
    if (*line == "/clear") {
      chat.start_over(system);
      continue;
    }
    const Status status = chat.turn(*line);
    if (!status) report(status.error());
  }
  fmt::print("\n");
  return {};
}

}  // namespace lamina::app
