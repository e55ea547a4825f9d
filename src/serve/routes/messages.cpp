#include <array>

#include "serve/conversation.h"
#include "serve/generation.h"
#include "serve/routes.h"

namespace lamina::serve {

namespace {

constexpr double kMostTokens = 1 << 24;

constexpr Field kModel{"model", FieldType::kText, "which model", true};
constexpr Field kMessages{"messages", FieldType::kList, "the conversation: objects with role and content", true, 1,
                          4096};
constexpr Field kSystem{"system", FieldType::kTextOrList, "the system message: a text, or a list of text parts"};

constexpr std::array kFields{
    kModel,
    kMessages,
    kSystem,
    Field{"max_tokens", FieldType::kInteger, "tokens to write at most", true, 1, kMostTokens},
    Field{"temperature", FieldType::kNumber, "0: the most likely token; 1 by default", false, 0, 1},
    Field{"top_p", FieldType::kNumber, "keep the most likely tokens with this mass; 1 by default", false, 0, 1},
    Field{"top_k", FieldType::kInteger, "keep the k most likely tokens; 0, the default: all", false, 0, kMostTokens},
    Field{"stop_sequences", FieldType::kTexts, "the answer ends before these"},
    Field{"stream", FieldType::kFlag, "send server-sent events while writing"},
    Field{"metadata", FieldType::kObject, "taken and not used"},
};
constexpr std::array kCountFields{kModel, kMessages, kSystem};

/// The same conversation with its system message as the first one.
Json conversation_of(const Json& body) {
  Json messages = Json::array();
  if (body.contains("system")) messages.push_back({{"role", "system"}, {"content", body["system"]}});
  for (const Json& message : body["messages"]) messages.push_back(message);
  return {{"messages", std::move(messages)}};
}

Answer<std::vector<int32_t>> read_prompt(const Json& body, const ServedModel& model) {
  LAMINA_ASSIGN(const std::string rendered, render_conversation(model, conversation_of(body)));
  return encode_conversation(model, rendered);
}

std::string named_event(std::string_view name, const Json& value) {
  Json event{{"type", name}};
  event.update(value);
  return fmt::format("event: {}\n", name) + sse(event);
}

/// What an answer says about its end.
struct End {
  std::string_view reason;
  Json stop;
};

End end_of(run::FinishReason finish, int stop, const std::vector<std::string>& stops) {
  if (finish == run::FinishReason::kLength) return {"max_tokens", nullptr};
  if (stop < 0) return {"end_turn", nullptr};
  return {"stop_sequence", stops[static_cast<size_t>(stop)]};
}

/// What answers to one request have in common.
struct Answering {
  std::string id;
  const ServedModel& model;
  std::vector<std::string> stops;

  Json message(Json content, const End& end, const RequestRecord& record) const {
    const Json reason = end.reason.empty() ? Json() : Json(end.reason);
    return {{"id", id},
            {"type", "message"},
            {"role", "assistant"},
            {"model", model.name},
            {"content", std::move(content)},
            {"stop_reason", reason},
            {"stop_sequence", end.stop},
            {"usage",
             {{"input_tokens", record.prompt_tokens - record.cached_tokens},
              {"cache_creation_input_tokens", 0},
              {"cache_read_input_tokens", record.cached_tokens},
              {"output_tokens", record.completion_tokens}}}};
  }
};

struct MessageStream {
  Answering answering;
  Listener listener;
  std::shared_ptr<RequestRecord> record;
  std::function<bool()> gone;

  bool begin(const Write& write) const {
    const Json message = answering.message(Json::array(), {"", nullptr}, *record);
    return write(named_event("message_start", {{"message", message}})) &&
           write(
               named_event("content_block_start", {{"index", 0}, {"content_block", {{"type", "text"}, {"text", ""}}}}));
  }

  bool finish(const Event& event, const Write& write) const {
    record->completion_tokens = event.completion_tokens;
    const End end = end_of(event.finish, event.stop, answering.stops);
    return write(named_event("content_block_stop", {{"index", 0}})) &&
           write(named_event("message_delta", {{"delta", {{"stop_reason", end.reason}, {"stop_sequence", end.stop}}},
                                               {"usage", {{"output_tokens", event.completion_tokens}}}})) &&
           write(named_event("message_stop", Json::object()));
  }

  void operator()(const Write& write) const {
    bool begun = false;
    const auto ended = each_event(listener.channel(), 1, gone, [&](Event& event) {
      if (!begun) {
        begun = true;
        record->cached_tokens = event.cached_tokens;
        if (!begin(write)) return false;
      }
      if (!event.text.empty()) {
        const Json delta{{"index", 0}, {"delta", {{"type", "text_delta"}, {"text", event.text}}}};
        if (!write(named_event("content_block_delta", delta))) return false;
      }
      return !event.last || finish(event, write);
    });
    if (ended) return;
    record->status = ended.error().status;
    write(named_event("error", refusal_json(ended.error())));
  }
};

}  // namespace

std::span<const Field> messages_fields() {
  return kFields;
}

std::span<const Field> count_tokens_fields() {
  return kCountFields;
}

Answer<Reply> answer_messages(Call& call) {
  LAMINA_ASSIGN(const size_t index, call.find_model({Task::kGenerate}));
  const ServedModel& model = call.model(index);
  Json options = call.body;
  if (options.contains("stop_sequences")) options["stop"] = options["stop_sequences"];
  LAMINA_ASSIGN(GenerationPlan plan, read_plan(options, model));
  LAMINA_ASSIGN(std::vector<int32_t> prompt, read_prompt(call.body, model));
  call.record->prompt_tokens = std::ssize(prompt);
  const auto channel = std::make_shared<Channel>();
  plan.job.channel = channel;
  assign_client(plan.job, call);
  Answering answering{.id = "msg_" + call.record->id, .model = model, .stops = plan.job.stops};
  LAMINA_ASSIGN(std::vector<GenerationJob> jobs, make_jobs(plan, model, {std::move(prompt)}));
  LAMINA_CHECK_OK(call.service.scheduler().submit(index, std::move(jobs)));
  if (plan.stream) {
    return Reply{.type = "text/event-stream",
                 .headers = {{"Cache-Control", "no-cache"}},
                 .stream = MessageStream{.answering = std::move(answering),
                                         .listener = Listener(channel),
                                         .record = call.record,
                                         .gone = call.request.gone}};
  }
  LAMINA_ASSIGN(const std::vector<PartResult> results, collect(*channel, 1, call.request.gone));
  const PartResult& result = results.front();
  call.record->completion_tokens = result.completion_tokens;
  call.record->cached_tokens = result.cached_tokens;
  return json_reply(answering.message(Json::array({{{"type", "text"}, {"text", result.text}}}),
                                      end_of(result.finish, result.stop, answering.stops), *call.record));
}

Answer<Reply> answer_count_tokens(Call& call) {
  LAMINA_ASSIGN(const size_t index, call.find_model({Task::kGenerate}));
  LAMINA_ASSIGN(const std::vector<int32_t> prompt, read_prompt(call.body, call.model(index)));
  return json_reply({{"input_tokens", prompt.size()}});
}

}  // namespace lamina::serve
