#include "lamina/generation_options.h"

namespace lamina::app {

void add_generation_options(CLI::App& command, GenerationOptions& options) {
  run::SamplingOptions& sampling = options.sampling;
  command
      .add_option("-n,--tokens", options.tokens, "most tokens to generate; -1: until the answer or the context ends")
      ->check(CLI::Range(int64_t{-1}, int64_t{1} << 24));
  command.add_option("--temperature", sampling.temperature, "0: always the most likely token")->capture_default_str();
  command.add_option("--top-k", sampling.top_k, "keep the k most likely tokens; 0: all")->capture_default_str();
  command.add_option("--top-p", sampling.top_p, "keep the most likely tokens with this mass; 1: all")
      ->capture_default_str();
  command.add_option("--min-p", sampling.min_p, "drop tokens below this share of the likeliest; 0: none")
      ->capture_default_str();
  command.add_option("--typical-p", sampling.typical_p, "keep the tokens nearest the entropy with this mass; 1: all")
      ->capture_default_str();
  command.add_option("--repeat-penalty", sampling.repeat_penalty, "scales logits of seen tokens; 1: off")
      ->capture_default_str();
  command.add_option("--presence-penalty", sampling.presence_penalty, "taken from logits of seen tokens")
      ->capture_default_str();
  command.add_option("--frequency-penalty", sampling.frequency_penalty, "the same per time seen")
      ->capture_default_str();
  command.add_option("--penalty-window", sampling.penalty_window, "last tokens that count as seen; -1: all")
      ->capture_default_str();
  command.add_option("--seed", sampling.seed, "the same seed gives the same text")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  command.add_option("--stop", options.stops, "end the answer at this text (may be repeated)")->allow_extra_args(false);
}

}  // namespace lamina::app
