#include <algorithm>
#include <array>
#include <iterator>
#include <random>

#include "serve/chat_request.h"
#include "serve/generation.h"
#include "serve/response_items.h"
#include "serve/response_output.h"
#include "serve/routes.h"

namespace lamina::serve {

namespace {

constexpr double kMostTokens = 1 << 24;

constexpr std::array kFields{
    Field{"model", FieldType::kText, "which model; needed when several could answer"},
    Field{"input", FieldType::kTextOrList, "what the user says: a text, or messages", true, 1, 16 << 20},
    Field{"instructions", FieldType::kText, "the system message, of this answer alone"},
    Field{"previous_response_id", FieldType::kText, "a kept answer to go on from"},
    Field{"store", FieldType::kFlag, "keep the answer, to go on from; true by default"},
    Field{"max_output_tokens", FieldType::kInteger, "tokens to write at most", false, 1, kMostTokens},
    Field{"temperature", FieldType::kNumber, "0: the most likely token; 1 by default", false, 0, 2},
    Field{"top_p", FieldType::kNumber, "keep the most likely tokens with this mass; 1 by default", false, 0, 1},
    Field{"top_k", FieldType::kInteger, "keep the k most likely tokens; 0, the default: all", false, 0, kMostTokens},
    Field{"min_p", FieldType::kNumber, "drop tokens below this share of the most likely one's", false, 0, 1},
    Field{"seed", FieldType::kInteger, "of the draws; another one each time by default"},
    Field{"stop", FieldType::kTexts, "the answer ends before these"},
    Field{"stream", FieldType::kFlag, "send server-sent events while writing"},
    Field{"metadata", FieldType::kObject, "repeated in the answer", false, 0, 16},
    Field{"text", FieldType::kObject, "{format: {type: text, json_object or json_schema, name, schema}}"},
    Field{"tools", FieldType::kList, "functions that the model may call", false, 0, 128},
    Field{"tool_choice", FieldType::kAny, "none, auto, required, or {type: function, name}"},
    Field{"parallel_tool_calls", FieldType::kFlag, "several calls in one answer; true by default"},
    Field{"reasoning", FieldType::kObject, "{effort}, where the chat template knows it"},
    Field{"truncation", FieldType::kText, "nothing is cut", false, 0, 0, "disabled"},
    Field{"background", FieldType::kFlag, "false"},
    Field{"service_tier", FieldType::kText, "taken and not used", false, 0, 0, "auto|default"},
    Field{"prompt_cache_key", FieldType::kText, "taken and not used", false, 0, 1024},
    Field{"safety_identifier", FieldType::kText, "taken and not used", false, 0, 1024},
    Field{"user", FieldType::kText, "taken and not used", false, 0, 1024},
};
/// What is asked for and cannot be had.
Answer<void> check_request(const Json& body) {
  if (value_of(body, "background", false))
    return refuse(400, "background", "background: answers are written while the client waits; false expected");
  return {};
}

/// What the events of one answer have in common.
struct Answering {
  std::string id;
  int64_t created = 0;
  const ServedModel& model;
  Json request;
  std::shared_ptr<RequestRecord> record;

  Json usage() const {
    return {{"input_tokens", record->prompt_tokens},
            {"input_tokens_details", {{"cached_tokens", record->cached_tokens}}},
            {"output_tokens", record->completion_tokens},
            {"output_tokens_details", {{"reasoning_tokens", 0}}},
            {"total_tokens", record->prompt_tokens + record->completion_tokens}};
  }
  Json response(std::string_view status, Json output) const {
    const auto asked = [&](std::string_view name, const Json& otherwise) {
      const auto found = request.find(name);
      return found == request.end() ? otherwise : *found;
    };
    Json text = asked("text", Json::object());
    if (!text.contains("format")) text["format"] = {{"type", "text"}};
    return {{"id", id},
            {"object", "response"},
            {"created_at", created},
            {"status", status},
            {"background", false},
            {"error", nullptr},
            {"incomplete_details", nullptr},
            {"instructions", asked("instructions", nullptr)},
            {"max_output_tokens", asked("max_output_tokens", nullptr)},
            {"model", model.name},
            {"output", std::move(output)},
            {"parallel_tool_calls", asked("parallel_tool_calls", true)},
            {"previous_response_id", asked("previous_response_id", nullptr)},
            {"reasoning", asked("reasoning", nullptr)},
            {"store", asked("store", true)},
            {"temperature", asked("temperature", 1.0)},
            {"text", std::move(text)},
            {"tool_choice", asked("tool_choice", "auto")},
            {"tools", asked("tools", Json::array())},
            {"top_p", asked("top_p", 1.0)},
            {"truncation", "disabled"},
            {"usage", nullptr},
            {"user", asked("user", nullptr)},
            {"metadata", asked("metadata", Json::object())}};
  }
  /// The whole answer.
  Json finished(const ResponseOutput& output, std::string_view status) const {
    Json out = response(status, output.items());
    if (status == "incomplete") out["incomplete_details"] = {{"reason", "max_output_tokens"}};
    out["usage"] = usage();
    return out;
  }
};

std::string_view status_of(run::FinishReason reason) {
  return reason == run::FinishReason::kLength ? "incomplete" : "completed";
}

/// Keeps an answer with the conversation that it ends.
struct Keeper {
  ResponseStore* store = nullptr;  ///< null: it is not to be kept
  uint64_t tenant = 0;
  Json messages;

  void operator()(const std::string& id, const ResponseOutput& output, const Json& response) const {
    if (store == nullptr) return;
    Json all = messages;
    all.push_back(output.message());
    store->add(id, {.tenant = tenant, .response = response, .messages = std::move(all)});
  }
};

struct ResponseStream {
  Answering answering;
  std::shared_ptr<const ChatRequest> request;
  Keeper keep;
  Listener listener;
  std::function<bool()> gone;

  void operator()(const Write& write) const {
    int number = 0;
    const auto tell = [&](std::string_view type, const Json& fields) {
      Json event{{"type", type}, {"sequence_number", number++}};
      event.update(fields);
      return write(fmt::format("event: {}\n", type) + sse(event));
    };
    const Json started = answering.response("in_progress", Json::array());
    if (!tell("response.created", {{"response", started}}) || !tell("response.in_progress", {{"response", started}}))
      return;
    AnswerParser parser(*request->conversation.form, request->parse);
    ResponseOutput output(answering.record->id, tell);
    const auto ended = each_event(listener.channel(), 1, gone, [&](Event& event) {
      answering.record->cached_tokens = event.cached_tokens;
      std::vector<AnswerPiece> pieces = parser.push(event.text);
      if (event.last) std::ranges::move(parser.finish(), std::back_inserter(pieces));
      for (const AnswerPiece& piece : pieces) {
        if (!output.add(piece)) return false;
      }
      if (!event.last) return true;
      answering.record->completion_tokens = event.completion_tokens;
      const std::string_view status = status_of(event.finish);
      if (!output.finish(status)) return false;
      const Json whole = answering.finished(output, status);
      keep(answering.id, output, whole);
      return tell(fmt::format("response.{}", status), {{"response", whole}});
    });
    if (ended) return;
    answering.record->status = ended.error().status;
    Json failed = answering.response("failed", Json::array());
    failed["error"] = {{"code", "server_error"}, {"message", ended.error().message}};
    tell("response.failed", {{"response", failed}});
  }
};

/// Whom kept answers belong to.
uint64_t owner_of(const Call& call) {
  return std::hash<std::string>()(fmt::format("{}", call.tenant));
}

/// The conversation that the request goes on, without instructions.
Answer<Json> read_conversation(Call& call) {
  LAMINA_ASSIGN(const Json said, read_items(call.body["input"]));
  Json messages = Json::array();
  if (const auto id = value_of<std::string>(call.body, "previous_response_id", ""); !id.empty()) {
    auto kept = call.service.responses().find(id, owner_of(call));
    if (!kept) {
      return std::unexpected(Refusal(400, fmt::format("previous_response_id: no answer \"{}\" is kept", id),
                                     "previous_response_id", "previous_response_not_found"));
    }
    messages = std::move(kept->messages);
  }
  messages.insert(messages.end(), said.begin(), said.end());
  return messages;
}

Answer<ChatRequest> read_request(const Json& body, const Json& messages, const ServedModel& model) {
  LAMINA_ASSIGN(Json chat, chat_fields_of(body));
  Json conversation = Json::array();
  if (body.contains("instructions")) conversation.push_back({{"role", "system"}, {"content", body["instructions"]}});
  conversation.insert(conversation.end(), messages.begin(), messages.end());
  if (conversation.empty()) return refuse(400, "input", "input: it has no message; at least one expected");
  chat["messages"] = std::move(conversation);
  return read_chat(model, chat);
}

/// The name of a kept answer, which nobody else can guess: where there are no keys, it is what keeps strangers out.
std::string new_response_id() {
  std::random_device device;
  return fmt::format("resp_{:08x}{:08x}{:08x}{:08x}", device(), device(), device(), device());
}

Refusal unknown_response(const std::string& id) {
  return {404, fmt::format("no answer \"{}\" is kept", id), "id"};
}

}  // namespace

std::span<const Field> responses_fields() {
  return kFields;
}

Answer<Reply> answer_responses(Call& call) {
  LAMINA_ASSIGN(const size_t index, call.find_model({Task::kGenerate}));
  const ServedModel& model = call.model(index);
  LAMINA_CHECK_OK(check_request(call.body));
  Json options = call.body;
  if (options.contains("max_output_tokens")) options["max_tokens"] = options["max_output_tokens"];
  LAMINA_ASSIGN(GenerationPlan plan, read_plan(options, model));
  LAMINA_ASSIGN(Json messages, read_conversation(call));
  LAMINA_ASSIGN(ChatRequest read, read_request(call.body, messages, model));
  const auto request = std::make_shared<const ChatRequest>(std::move(read));
  call.record->prompt_tokens = std::ssize(request->prompt);
  const auto channel = std::make_shared<Channel>();
  plan.job.channel = channel;
  assign_client(plan.job, call);
  request->apply(plan.job);
  LAMINA_ASSIGN(std::vector<GenerationJob> jobs, make_jobs(plan, model, {request->prompt}));
  LAMINA_CHECK_OK(call.service.scheduler().submit(index, std::move(jobs)));
  const bool stored = value_of(call.body, "store", true);
  const Keeper keep{
      .store = stored ? &call.service.responses() : nullptr, .tenant = owner_of(call), .messages = std::move(messages)};
  Answering answering{.id = new_response_id(),
                      .created = now_seconds(),
                      .model = model,
                      .request = std::move(call.body),
                      .record = call.record};
  answering.request.erase("input");
  if (plan.stream) {
    return Reply{.type = "text/event-stream",
                 .headers = {{"Cache-Control", "no-cache"}},
                 .stream = ResponseStream{.answering = std::move(answering),
                                          .request = request,
                                          .keep = keep,
                                          .listener = Listener(channel),
                                          .gone = call.request.gone}};
  }
  LAMINA_ASSIGN(const std::vector<PartResult> results, collect(*channel, 1, call.request.gone));
  const PartResult& result = results.front();
  call.record->completion_tokens = result.completion_tokens;
  call.record->cached_tokens = result.cached_tokens;
  AnswerParser parser(*request->conversation.form, request->parse);
  ResponseOutput output(call.record->id, nullptr);
  for (const AnswerPiece& piece : parser.push(result.text)) output.add(piece);
  for (const AnswerPiece& piece : parser.finish()) output.add(piece);
  output.finish(status_of(result.finish));
  const Json response = answering.finished(output, status_of(result.finish));
  keep(answering.id, output, response);
  return json_reply(response);
}

Answer<Reply> answer_kept_response(Call& call) {
  const auto kept = call.service.responses().find(call.id, owner_of(call));
  if (!kept) return std::unexpected(unknown_response(call.id));
  return json_reply(kept->response);
}

Answer<Reply> answer_remove_response(Call& call) {
  if (!call.service.responses().remove(call.id, owner_of(call))) return std::unexpected(unknown_response(call.id));
  return json_reply({{"id", call.id}, {"object", "response.deleted"}, {"deleted", true}});
}

}  // namespace lamina::serve
