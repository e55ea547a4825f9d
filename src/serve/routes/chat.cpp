#include <array>
#include <utility>

#include "serve/chat_request.h"
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
    Field{"response_format", FieldType::kObject,
          "{type: text, json_object or json_schema, json_schema: {name, schema}}"},
    Field{"structured_outputs", FieldType::kObject, "one of {json, regex, choice, grammar}: what the answer must be"},
    Field{"tools", FieldType::kList, "tools that the model may call", false, 0, 128},
    Field{"tool_choice", FieldType::kAny, "none, auto, required, or {type, function: {name}}"},
    Field{"parallel_tool_calls", FieldType::kFlag, "several calls in one answer; true by default"},
    Field{"separate_reasoning", FieldType::kFlag, "tell thoughts as reasoning_content; true by default"},
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

  Json delta(int part, const AnswerPiece& piece) const {
    switch (piece.kind) {
      case AnswerPiece::Kind::kReasoning:
        return {{"reasoning_content", piece.text}, {"reasoning", piece.text}};
      case AnswerPiece::Kind::kContent:
        return {{"content", piece.text}};
      case AnswerPiece::Kind::kCallBegin:
        return {{"tool_calls", Json::array({{{"index", piece.call},
                                             {"id", call_id(id, part, piece.call)},
                                             {"type", "function"},
                                             {"function", {{"name", piece.text}, {"arguments", ""}}}}})}};
      case AnswerPiece::Kind::kCallArguments:
        break;
    }
    return {{"tool_calls", Json::array({{{"index", piece.call}, {"function", {{"arguments", piece.text}}}}})}};
  }

  Json message(int part, const ParsedAnswer& answer) const {
    Json out{{"role", "assistant"}, {"content", answer.content}, {"refusal", nullptr}};
    if (!answer.reasoning.empty()) out["reasoning_content"] = out["reasoning"] = answer.reasoning;
    if (answer.calls.empty()) return out;
    if (answer.content.empty()) out["content"] = nullptr;
    for (size_t i = 0; i < answer.calls.size(); ++i) {
      out["tool_calls"].push_back(
          {{"id", call_id(id, part, static_cast<int>(i))},
           {"type", "function"},
           {"function", {{"name", answer.calls[i].name}, {"arguments", answer.calls[i].arguments}}}});
    }
    return out;
  }
};

std::string_view ending(run::FinishReason reason, size_t calls) {
  return reason == run::FinishReason::kStop && calls > 0 ? "tool_calls" : finish_name(reason);
}

/// One choice of a stream on its way.
struct StreamedChoice {
  AnswerParser parser;
  std::vector<ScoredToken> tokens{};  ///< not yet told
  bool begun = false;
};

/// What a stream needs when the handler has returned.
struct ChatStream {
  Answering answering;
  std::shared_ptr<const ChatRequest> request;
  Listener listener;
  std::shared_ptr<RequestRecord> record;
  std::function<bool()> gone;
  int parts = 0;
  bool usage = false;

  bool tell(StreamedChoice& choice, Event& event, const Write& write) const {
    if (!std::exchange(choice.begun, true) &&
        !write(sse(answering.chunk(event.part, {{"role", "assistant"}, {"content", ""}}, nullptr, nullptr))))
      return false;
    std::vector<AnswerPiece> pieces = choice.parser.push(event.text);
    if (event.last) std::ranges::move(choice.parser.finish(), std::back_inserter(pieces));
    std::ranges::move(event.tokens, std::back_inserter(choice.tokens));
    for (const AnswerPiece& piece : pieces) {
      const Json logprobs = answering.logprobs(std::exchange(choice.tokens, {}));
      if (!write(sse(answering.chunk(event.part, answering.delta(event.part, piece), logprobs, nullptr)))) return false;
    }
    if (!event.last) return true;
    record->completion_tokens += event.completion_tokens;
    record->cached_tokens = std::max(record->cached_tokens, event.cached_tokens);
    const Json logprobs = choice.tokens.empty() ? Json() : answering.logprobs(choice.tokens);
    const auto calls = static_cast<size_t>(choice.parser.calls());
    return write(sse(answering.chunk(event.part, Json::object(), logprobs, ending(event.finish, calls))));
  }

  void operator()(const Write& write) const {
    std::vector<StreamedChoice> choices;
    for (int part = 0; part < parts; ++part)
      choices.push_back({.parser = AnswerParser(*request->conversation.form, request->parse)});
    const auto ended = each_event(listener.channel(), parts, gone, [&](Event& event) {
      return tell(choices[static_cast<size_t>(event.part)], event, write);
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

Answer<Reply> reply_at_once(const Answering& answering, const ChatRequest& request, Channel& channel, int parts,
                            Call& call) {
  LAMINA_ASSIGN(const std::vector<PartResult> results, collect(channel, parts, call.request.gone));
  Json choices = Json::array();
  for (int part = 0; part < parts; ++part) {
    const PartResult& result = results[static_cast<size_t>(part)];
    call.record->completion_tokens += result.completion_tokens;
    call.record->cached_tokens = std::max(call.record->cached_tokens, result.cached_tokens);
    const ParsedAnswer answer = parse_answer(request, result.text);
    choices.push_back({{"index", part},
                       {"message", answering.message(part, answer)},
                       {"logprobs", answering.logprobs(result.tokens)},
                       {"finish_reason", ending(result.finish, answer.calls.size())}});
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
  LAMINA_ASSIGN(ChatRequest read, read_chat(model, call.body));
  const auto request = std::make_shared<const ChatRequest>(std::move(read));
  call.record->prompt_tokens = std::ssize(request->prompt);
  const auto channel = std::make_shared<Channel>();
  plan.job.channel = channel;
  assign_client(plan.job, call);
  request->apply(plan.job);
  LAMINA_ASSIGN(std::vector<GenerationJob> jobs, make_jobs(plan, model, {request->prompt}));
  const auto parts = static_cast<int>(jobs.size());
  LAMINA_CHECK_OK(call.service.scheduler().submit(index, std::move(jobs)));
  Answering answering{.id = "chatcmpl-" + call.record->id,
                      .created = now_seconds(),
                      .model = model,
                      .scored = plan.job.alternatives.has_value()};
  if (!plan.stream) return reply_at_once(answering, *request, *channel, parts, call);
  return Reply{.type = "text/event-stream",
               .headers = {{"Cache-Control", "no-cache"}},
               .stream = ChatStream{.answering = std::move(answering),
                                    .request = request,
                                    .listener = Listener(channel),
                                    .record = call.record,
                                    .gone = call.request.gone,
                                    .parts = parts,
                                    .usage = plan.stream_usage}};
}

}  // namespace lamina::serve
