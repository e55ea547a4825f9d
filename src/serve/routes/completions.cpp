#include <array>

#include "serve/generation.h"
#include "serve/grammars.h"
#include "serve/prompts.h"
#include "serve/routes.h"
#include "text/utf8.h"

namespace lamina::serve {

namespace {

constexpr int64_t kDefaultTokens = 16;  // as OpenAI's route has it

constexpr std::array kOwn{
    Field{"prompt", FieldType::kPrompt, "what to continue", true, 0, 16 << 20},
    Field{"logprobs", FieldType::kInteger, "tell how likely tokens were, and so many others in their place", false, 0,
          20},
    Field{"echo", FieldType::kFlag, "begin with the prompt; with logprobs, tell them of the prompt too"},
    Field{"response_format", FieldType::kObject,
          "{type: text, json_object or json_schema, json_schema: {name, schema}}"},
    Field{"structured_outputs", FieldType::kObject, "one of {json, regex, choice, grammar}: what the text must be"},
};

/// Collects the parallel lists of the route's "logprobs".
class ScoreLists {
 public:
  /// `offset`: characters before the first token.
  ScoreLists(const ServedModel& model, size_t offset)
      : tokenizer_(model.tokenizer), decoder_(tokenizer_, false), offset_(offset) {}

  void add(const ScoredToken& token, bool wants_top) {
    tokens_.push_back(tokenizer_.piece(token.id));
    offsets_.push_back(offset_);
    offset_ += text::count_characters(decoder_.push(token.id));
    if (!token.log_probability) {
      values_.push_back(nullptr);
      top_.push_back(nullptr);
      return;
    }
    values_.push_back(finite_log_probability(*token.log_probability));
    Json top = Json::object();
    for (const auto& other : token.top) {
      const std::string piece = tokenizer_.piece(other.id);
      // Of several tokens with one text the likeliest counts.
      if (!top.contains(piece)) top[piece] = finite_log_probability(other.log_probability);
    }
    top_.push_back(wants_top ? std::move(top) : Json());
  }
  size_t offset() const { return offset_; }
  Json take() {
    Json out{{"tokens", std::move(tokens_)},
             {"token_logprobs", std::move(values_)},
             {"top_logprobs", std::move(top_)},
             {"text_offset", std::move(offsets_)}};
    tokens_ = values_ = top_ = offsets_ = Json::array();
    return out;
  }

 private:
  const text::Tokenizer& tokenizer_;
  text::StreamDecoder decoder_;
  size_t offset_;
  Json tokens_ = Json::array();
  Json values_ = Json::array();
  Json top_ = Json::array();
  Json offsets_ = Json::array();
};

/// What answers to one request have in common.
struct Answering {
  std::string id;
  int64_t created = 0;
  const ServedModel& model;
  std::optional<int> alternatives;
  bool echo = false;
  std::vector<Prompt> prompts;
  int64_t choices = 1;

  const Prompt& prompt_of(int part) const { return prompts[static_cast<size_t>(part / choices)]; }
  /// The lists of one choice from its beginning on.
  ScoreLists lists(int part) const { return {model, echo ? 0 : text::count_characters(prompt_of(part).text)}; }
  void add(ScoreLists& lists, const std::vector<ScoredToken>& tokens) const {
    for (const ScoredToken& token : tokens) lists.add(token, *alternatives > 0);
  }
  Json object(Json choices_json) const {
    return {{"id", id},
            {"object", "text_completion"},
            {"created", created},
            {"model", model.name},
            {"choices", std::move(choices_json)}};
  }
  Json choice(int part, std::string text, Json logprobs, Json finish) const {
    return {{"index", part},
            {"text", std::move(text)},
            {"logprobs", std::move(logprobs)},
            {"finish_reason", std::move(finish)}};
  }
};

struct CompletionStream {
  std::shared_ptr<const Answering> answering;
  Listener listener;
  std::shared_ptr<RequestRecord> record;
  std::function<bool()> gone;
  int parts = 0;
  bool usage = false;

  void operator()(const Write& write) const {
    std::vector<ScoreLists> lists;
    for (int part = 0; part < parts; ++part) lists.push_back(answering->lists(part));
    std::vector<bool> begun(static_cast<size_t>(parts));
    const auto ended = each_event(listener.channel(), parts, gone, [&](Event& event) {
      const auto part = static_cast<size_t>(event.part);
      std::string text = std::move(event.text);
      if (answering->echo && !begun[part]) text = answering->prompt_of(event.part).text + text;
      begun[part] = true;
      Json logprobs;
      if (answering->alternatives) {
        answering->add(lists[part], event.prompt);
        answering->add(lists[part], event.tokens);
        logprobs = lists[part].take();
      }
      if (event.last) record->completion_tokens += event.completion_tokens;
      if (event.last && event.part % answering->choices == 0) record->cached_tokens += event.cached_tokens;
      const Json finish = event.last ? Json(finish_name(event.finish)) : Json();
      return write(sse(answering->object(
          Json::array({answering->choice(event.part, std::move(text), std::move(logprobs), finish)}))));
    });
    if (!ended) {
      record->status = ended.error().status;
      write(sse(refusal_json(ended.error())));
      return;
    }
    if (usage) {
      Json last = answering->object(Json::array());
      last["usage"] = usage_json(*record);
      if (!write(sse(last))) return;
    }
    write(kSseDone);
  }
};

Answer<Reply> reply_at_once(const Answering& answering, Channel& channel, int parts, Call& call) {
  LAMINA_ASSIGN(const std::vector<PartResult> results, collect(channel, parts, call.request.gone));
  Json choices = Json::array();
  for (int part = 0; part < parts; ++part) {
    const PartResult& result = results[static_cast<size_t>(part)];
    call.record->completion_tokens += result.completion_tokens;
    if (part % answering.choices == 0) call.record->cached_tokens += result.cached_tokens;
    Json logprobs;
    if (answering.alternatives) {
      ScoreLists lists = answering.lists(part);
      answering.add(lists, result.prompt);
      answering.add(lists, result.tokens);
      logprobs = lists.take();
    }
    const std::string before = answering.echo ? answering.prompt_of(part).text : "";
    choices.push_back(answering.choice(part, before + result.text, std::move(logprobs), finish_name(result.finish)));
  }
  Json out = answering.object(std::move(choices));
  out["usage"] = usage_json(*call.record);
  return json_reply(out);
}

}  // namespace

std::span<const Field> completions_fields() {
  static const std::vector<Field> fields = with_generation_fields(kOwn);
  return fields;
}

Answer<Reply> answer_completions(Call& call) {
  LAMINA_ASSIGN(const size_t index, call.find_model({Task::kGenerate}));
  const ServedModel& model = call.model(index);
  LAMINA_ASSIGN(GenerationPlan plan, read_plan(call.body, model));
  if (plan.job.max_tokens < 0) plan.job.max_tokens = kDefaultTokens;
  if (call.body.contains("logprobs")) plan.job.alternatives = call.body["logprobs"].get<int>();
  const bool echo = value_of(call.body, "echo", false);
  plan.job.scores_prompt = echo && plan.job.alternatives.has_value();
  plan.job.continues_text = true;
  GrammarRequest grammar;
  LAMINA_ASSIGN(grammar.rule, read_rule(call.body));
  LAMINA_ASSIGN(plan.job.grammar, model.grammars->find(grammar, model.tokenizer));
  LAMINA_ASSIGN(std::vector<Prompt> prompts, read_prompts(call.body["prompt"], "prompt", model));
  std::vector<std::vector<int32_t>> tokens;
  for (const Prompt& prompt : prompts) {
    call.record->prompt_tokens += std::ssize(prompt.tokens);
    tokens.push_back(prompt.tokens);
  }
  const auto channel = std::make_shared<Channel>();
  plan.job.channel = channel;
  assign_client(plan.job, call);
  LAMINA_ASSIGN(std::vector<GenerationJob> jobs, make_jobs(plan, model, tokens));
  const auto parts = static_cast<int>(jobs.size());
  LAMINA_CHECK_OK(call.service.scheduler().submit(index, std::move(jobs)));
  const auto answering = std::make_shared<const Answering>(Answering{.id = "cmpl-" + call.record->id,
                                                                     .created = now_seconds(),
                                                                     .model = model,
                                                                     .alternatives = plan.job.alternatives,
                                                                     .echo = echo,
                                                                     .prompts = std::move(prompts),
                                                                     .choices = plan.choices});
  if (!plan.stream) return reply_at_once(*answering, *channel, parts, call);
  return Reply{.type = "text/event-stream",
               .headers = {{"Cache-Control", "no-cache"}},
               .stream = CompletionStream{.answering = answering,
                                          .listener = Listener(channel),
                                          .record = call.record,
                                          .gone = call.request.gone,
                                          .parts = parts,
                                          .usage = plan.stream_usage}};
}

}  // namespace lamina::serve
