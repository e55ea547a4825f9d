#include "serve/generation.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <random>

#include "run/random.h"
#include "serve/request_recipe.h"

namespace lamina::serve {

namespace {

constexpr double kMostTokens = 1 << 24;
constexpr double kLowestLogProbability = -9999;

constexpr std::array kShared{
    Field{"model", FieldType::kText, "which model; needed when several could answer"},
    Field{"max_tokens", FieldType::kInteger, "tokens to write at most", false, 0, kMostTokens},
    Field{"temperature", FieldType::kNumber, "0: the most likely token; 1 by default", false, 0, 2},
    Field{"top_p", FieldType::kNumber, "keep the most likely tokens with this mass; 1 by default", false, 0, 1},
    Field{"top_k", FieldType::kInteger, "keep the k most likely tokens; 0, the default: all", false, 0, kMostTokens},
    Field{"min_p", FieldType::kNumber, "drop tokens below this share of the most likely one's", false, 0, 1},
    Field{"typical_p", FieldType::kNumber, "keep tokens nearest the entropy with this mass", false, 0, 1},
    Field{"presence_penalty", FieldType::kNumber, "taken from the logits of tokens that were written", false, -2, 2},
    Field{"frequency_penalty", FieldType::kNumber, "the same, once per time", false, -2, 2},
    Field{"repeat_penalty", FieldType::kNumber, "divides the logits of tokens that were read or written", false, 0.01,
          100},
    Field{"logit_bias", FieldType::kObject, "token: what is added to its logit, -100 to 100", false, 0, 4096},
    Field{"seed", FieldType::kInteger, "of the draws; another one each time by default"},
    Field{"stop", FieldType::kTexts, "the answer ends before these"},
    Field{"n", FieldType::kInteger, "answers; 1 by default", false, 1, 16},
    Field{"ignore_eos", FieldType::kFlag, "go on after the model's own end"},
    Field{"stream", FieldType::kFlag, "send server-sent events while writing"},
    Field{"stream_options", FieldType::kObject, "{include_usage}: a last event with the counts"},
    Field{"user", FieldType::kText, "taken and not used", false, 0, 1024},
    Field{"priority", FieldType::kInteger, "lower numbers are served first; 0 by default", false, -100, 100},
    Field{"recipe", FieldType::kText,
          "a route, a draft for this request alone: route:0-11,18-29 L4.mlp:drop draft:ngram", false, 1, 4096},
    Field{"cache_salt", FieldType::kText, "share what is kept of texts only with requests that say the same", false, 1,
          256},
};

constexpr std::array kStreamOptions{Field{"include_usage", FieldType::kFlag, "a last event with the counts"}};

Answer<void> read_biases(const Json& body, const ServedModel& model, run::SamplingOptions& sampling) {
  const auto found = body.find("logit_bias");
  if (found == body.end()) return {};
  for (const auto& [key, value] : found->items()) {
    int32_t token = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), token);
    const bool whole = error == std::errc() && end == key.data() + key.size();
    if (!whole || token < 0 || token >= model.model->vocabulary()) {
      return refuse(400, "logit_bias", "logit_bias: \"{}\" is no token; 0 to {} expected", key,
                    model.model->vocabulary() - 1);
    }
    if (!value.is_number() || std::abs(value.get<double>()) > 100)
      return refuse(400, "logit_bias", "logit_bias: token {}: a number from -100 to 100 expected", token);
    sampling.logit_bias.emplace_back(token, value.get<float>());
  }
  return {};
}

Answer<run::SamplingOptions> read_sampling(const Json& body, const ServedModel& model) {
  run::SamplingOptions sampling{.temperature = value_of(body, "temperature", 1.0F),
                                .top_k = value_of(body, "top_k", 0),
                                .top_p = value_of(body, "top_p", 1.0F),
                                .min_p = value_of(body, "min_p", 0.0F),
                                .typical_p = value_of(body, "typical_p", 1.0F),
                                .repeat_penalty = value_of(body, "repeat_penalty", 1.0F),
                                .presence_penalty = value_of(body, "presence_penalty", 0.0F),
                                .frequency_penalty = value_of(body, "frequency_penalty", 0.0F),
                                .penalty_window = -1};
  const bool of_answer = sampling.presence_penalty != 0 || sampling.frequency_penalty != 0;
  if (of_answer && sampling.repeat_penalty != 1) {
    return refuse(400, "repeat_penalty",
                  "repeat_penalty: it counts the prompt, and the other penalties do not; one kind of them expected");
  }
  LAMINA_CHECK_OK(read_biases(body, model, sampling));
  if (body.contains("seed")) {
    sampling.seed = static_cast<uint64_t>(body["seed"].get<int64_t>());
  } else {
    std::random_device device;
    sampling.seed = (uint64_t{device()} << 32) | device();
  }
  return sampling;
}

}  // namespace

std::vector<Field> with_generation_fields(std::span<const Field> own) {
  std::vector<Field> fields(kShared.begin(), kShared.end());
  fields.insert(fields.end(), own.begin(), own.end());
  return fields;
}

Answer<GenerationPlan> read_plan(const Json& body, const ServedModel& model) {
  GenerationPlan plan;
  LAMINA_ASSIGN(plan.job.sampling, read_sampling(body, model));
  plan.job.max_tokens = value_of<int64_t>(body, "max_tokens", -1);
  plan.job.stops = texts_of(body, "stop");
  LAMINA_CHECK_OK(run::StopMatcher::create(plan.job.stops));
  plan.job.ignore_end = value_of(body, "ignore_eos", false);
  LAMINA_CHECK_OK(read_recipe(body, model, plan.job));
  plan.choices = value_of<int64_t>(body, "n", 1);
  plan.stream = value_of(body, "stream", false);
  if (body.contains("stream_options")) {
    if (!plan.stream) return refuse(400, "stream_options", "stream_options: only for stream: true");
    Json options = body["stream_options"];
    LAMINA_CHECK_OK(check_fields(options, kStreamOptions, "stream_options"));
    plan.stream_usage = value_of(options, "include_usage", false);
  }
  return plan;
}

void assign_client(GenerationJob& job, const Call& call) {
  job.client = call.client;
  // The lengths keep a key and a salt from being read as others. Keys and values depend on the route, too.
  const auto salt = value_of<std::string>(call.body, "cache_salt", "");
  job.tenant = fmt::format("{} {} {} {} {}", call.tenant.size(), call.tenant, salt.size(), salt, job.recipe);
  job.priority = value_of(call.body, "priority", 0);
}

Answer<std::vector<GenerationJob>> make_jobs(const GenerationPlan& plan, const ServedModel& model,
                                             const std::vector<std::vector<int32_t>>& prompts) {
  std::vector<GenerationJob> jobs;
  const int64_t context = model.context();
  for (const std::vector<int32_t>& prompt : prompts) {
    const int64_t length = std::ssize(prompt);
    if (length == 0) return refuse(400, "prompt", "the prompt has no tokens; at least one expected");
    const int64_t wanted = std::max<int64_t>(plan.job.max_tokens, 0);
    if (length + wanted > context || (plan.job.max_tokens < 0 && length == context)) {
      return std::unexpected(Refusal(
          400,
          fmt::format(
              "{} tokens of the prompt and {} to write do not fit into the context of {}; shorten the prompt or "
              "ask for less",
              length, std::max<int64_t>(wanted, plan.job.max_tokens < 0 ? 1 : 0), context),
          "messages", "context_length_exceeded"));
    }
    for (int64_t choice = 0; choice < plan.choices; ++choice) {
      GenerationJob job = plan.job;
      job.prompt = prompt;
      if (job.max_tokens < 0) job.max_tokens = context - length;
      if (choice > 0) job.sampling.seed = run::random_bits(plan.job.sampling.seed, static_cast<uint64_t>(choice), 1);
      job.part = static_cast<int>(jobs.size());
      jobs.push_back(std::move(job));
    }
  }
  return jobs;
}

std::string_view finish_name(run::FinishReason reason) {
  return reason == run::FinishReason::kLength ? "length" : "stop";
}

Json usage_json(const RequestRecord& record) {
  return {{"prompt_tokens", record.prompt_tokens},
          {"completion_tokens", record.completion_tokens},
          {"total_tokens", record.prompt_tokens + record.completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", record.cached_tokens}}}};
}

int64_t now_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

double finite_log_probability(double value) {
  return std::max(value, kLowestLogProbability);
}

}  // namespace lamina::serve
