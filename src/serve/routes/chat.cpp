#include "serve/conversation.h"
#include "serve/generation.h"
#include "serve/routes.h"

namespace lamina::serve {

namespace {

constexpr std::array kOwn{
    Field{"messages", FieldType::kList, "the conversation: objects with role and content", true, 1, 4096},
    Field{"max_completion_tokens", FieldType::kInteger, "the newer name of max_tokens", false, 0, 1 << 24},
    Field{"logprobs", FieldType::kFlag, "tell how likely each token was"},
    Field{"top_logprobs", FieldType::kInteger, "and so many others in its place", false, 0, 20},
    Field{"add_generation_prompt", FieldType::kFlag, "begin the assistant's turn; true by default"},
    Field{"continue_final_message", FieldType::kFlag, "go on writing the last message"},
    Field{"chat_template_kwargs", FieldType::kObject, "further arguments of the chat template"},
};

/// What answers to one request have in common.
struct Answering {
  std::string id;
  int64_t created = 0;
  const ServedModel& model;
  bool scored = false;

  Json object(std::string_view kind, Json choices) const {
    return {{"id", id}, {"object", kind}, {"created", created}, {"model", model.name}, {"choices", std::move(choices)}};
  }

  Json token_json(int32_t token, double log_probability) const {
    const std::string piece = model.tokenizer.piece(token);
    Json bytes = Json::array();
    for (const char byte : piece) bytes.push_back(static_cast<unsigned char>(byte));
    return {{"token", piece}, {"logprob", finite_log_probability(log_probability)}, {"bytes", std::move(bytes)}};
  }

  Json logprobs(const std::vector<ScoredToken>& tokens) const {
    if (!scored) return nullptr;
    Json content = Json::array();
    for (const ScoredToken& token : tokens) {
      Json entry = token_json(token.id, token.log_probability.value_or(0));
      entry["top_logprobs"] = Json::array();
      for (const auto& other : token.top) entry["top_logprobs"].push_back(token_json(other.id, other.log_probability));
      content.push_back(std::move(entry));
    }
    return {{"content", std::move(content)}, {"refusal", nullptr}};
  }

  Json chunk(int part, Json delta, Json logprobs, Json finish) const {
    Json choice{{"index", part},
                {"delta", std::move(delta)},
                {"logprobs", std::move(logprobs)},
                {"finish_reason", std::move(finish)}};
    return object("chat.completion.chunk", Json::array({std::move(choice)}));
  }
};

/// What a stream needs when the handler has returned.
struct ChatStream {
  Answering answering;
  Listener listener;
  std::shared_ptr<RequestRecord> record;
  std::function<bool()> gone;
  int parts = 0;
  bool usage = false;

  void operator()(const Write& write) const {
    std::vector<bool> begun(static_cast<size_t>(parts));
    const auto ended = each_event(listener.channel(), parts, gone, [&](Event& event) {
      const auto part = static_cast<size_t>(event.part);
      if (!begun[part]) {
        begun[part] = true;
        if (!write(sse(answering.chunk(event.part, {{"role", "assistant"}, {"content", ""}}, nullptr, nullptr))))
          return false;
      }
      if (event.last) record->completion_tokens += event.completion_tokens;
      record->cached_tokens = std::max(record->cached_tokens, event.cached_tokens);
      if (!event.text.empty() || !event.tokens.empty()) {
        if (!write(
                sse(answering.chunk(event.part, {{"content", event.text}}, answering.logprobs(event.tokens), nullptr))))
          return false;
      }
      return !event.last || write(sse(answering.chunk(event.part, Json::object(), nullptr, finish_name(event.finish))));
    });
    if (!ended) {
      record->status = ended.error().status;
      write(sse(refusal_json(ended.error())));
      return;
    }
    if (usage) {
      Json last = answering.object("chat.completion.chunk", Json::array());
      last["usage"] = usage_json(*record);
      if (!write(sse(last))) return;
    }
    write(kSseDone);
  }
};

Answer<Reply> reply_at_once(const Answering& answering, Channel& channel, int parts, Call& call) {
  LAMINA_ASSIGN(const std::vector<PartResult> results, collect(channel, parts, call.request.gone));
  Json choices = Json::array();
  for (size_t i = 0; i < results.size(); ++i) {
    call.record->completion_tokens += results[i].completion_tokens;
    call.record->cached_tokens = std::max(call.record->cached_tokens, results[i].cached_tokens);
    choices.push_back({{"index", i},
                       {"message", {{"role", "assistant"}, {"content", results[i].text}, {"refusal", nullptr}}},
                       {"logprobs", answering.logprobs(results[i].tokens)},
                       {"finish_reason", finish_name(results[i].finish)}});
  }
  Json out = answering.object("chat.completion", std::move(choices));
  out["usage"] = usage_json(*call.record);
  return json_reply(out);
}

Answer<GenerationPlan> read_chat_plan(Json& body, const ServedModel& model) {
  if (body.contains("max_completion_tokens")) {
    if (body.contains("max_tokens"))
      return refuse(400, "max_completion_tokens",
                    "max_completion_tokens: max_tokens is given too; one of them expected");
    body["max_tokens"] = body["max_completion_tokens"];
  }
  LAMINA_ASSIGN(GenerationPlan plan, read_plan(body, model));
  const bool scored = value_of(body, "logprobs", false);
  if (body.contains("top_logprobs") && !scored)
    return refuse(400, "top_logprobs", "top_logprobs: only with logprobs: true");
  if (scored) plan.job.alternatives = value_of(body, "top_logprobs", 0);
  return plan;
}

}  // namespace

std::span<const Field> chat_fields() {
  static const std::vector<Field> fields = with_generation_fields(kOwn);
  return fields;
}

Answer<Reply> answer_chat(Call& call) {
  LAMINA_ASSIGN(const size_t index, call.find_model({Task::kGenerate}));
  const ServedModel& model = call.model(index);
  LAMINA_ASSIGN(GenerationPlan plan, read_chat_plan(call.body, model));
  LAMINA_ASSIGN(const std::string rendered, render_conversation(model, call.body));
  LAMINA_ASSIGN(std::vector<int32_t> prompt, encode_conversation(model, rendered));
  call.record->prompt_tokens = std::ssize(prompt);
  const auto channel = std::make_shared<Channel>();
  plan.job.channel = channel;
  assign_client(plan.job, call);
  LAMINA_ASSIGN(std::vector<GenerationJob> jobs, make_jobs(plan, model, {std::move(prompt)}));
  const auto parts = static_cast<int>(jobs.size());
  LAMINA_CHECK_OK(call.service.scheduler().submit(index, std::move(jobs)));
  Answering answering{.id = "chatcmpl-" + call.record->id,
                      .created = now_seconds(),
                      .model = model,
                      .scored = plan.job.alternatives.has_value()};
  if (!plan.stream) return reply_at_once(answering, *channel, parts, call);
  return Reply{.type = "text/event-stream",
               .headers = {{"Cache-Control", "no-cache"}},
               .stream = ChatStream{.answering = std::move(answering),
                                    .listener = Listener(channel),
                                    .record = call.record,
                                    .gone = call.request.gone,
                                    .parts = parts,
                                    .usage = plan.stream_usage}};
}

}  // namespace lamina::serve
