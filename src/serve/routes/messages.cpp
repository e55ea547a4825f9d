#include <array>

#include "serve/block_messages.h"
#include "serve/chat_request.h"
#include "serve/generation.h"
#include "serve/routes.h"

namespace lamina::serve {

namespace {

constexpr double kMostTokens = 1 << 24;

constexpr Field kModel{"model", FieldType::kText, "which model", true};
constexpr Field kMessages{"messages", FieldType::kList, "the conversation: objects with role and content", true, 1,
                          4096};
constexpr Field kSystem{"system", FieldType::kTextOrList, "the system message: a text, or a list of text parts"};

constexpr Field kTools{"tools", FieldType::kList, "tools that the model may call", false, 0, 128};
constexpr Field kToolChoice{"tool_choice", FieldType::kObject, "{type: auto, any, tool or none, name}"};
constexpr Field kThinking{"thinking", FieldType::kObject, "{type: enabled or disabled}, where the template knows it"};

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
    kTools,
    kToolChoice,
    kThinking,
};
constexpr std::array kCountFields{kModel, kMessages, kSystem, kTools, kToolChoice, kThinking};

std::string named_event(std::string_view name, Json value) {
  Json event{{"type", name}};
  event.update(value);
  return fmt::format("event: {}\n", name) + sse(event);
}

/// What an answer says about its end.
struct End {
  std::string_view reason;
  Json stop;
};

End end_of(run::FinishReason finish, int stop, const std::vector<std::string>& stops, size_t calls) {
  if (finish == run::FinishReason::kLength) return {"max_tokens", nullptr};
  if (stop >= 0) return {"stop_sequence", stops[static_cast<size_t>(stop)]};
  return {calls > 0 ? "tool_use" : "end_turn", nullptr};
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

/// The blocks of an answer, told one after the other.
class Blocks {
 public:
  Blocks(std::string id, const Write& write) : id_(std::move(id)), write_(write) {}

  bool add(const AnswerPiece& piece) {
    if (piece.kind == AnswerPiece::Kind::kCallBegin) {
      return open(piece.kind, {{"type", "tool_use"},
                               {"id", "toolu_" + call_id(id_, 0, piece.call)},
                               {"name", piece.text},
                               {"input", Json::object()}});
    }
    if (piece.kind == AnswerPiece::Kind::kCallArguments)
      return delta({{"type", "input_json_delta"}, {"partial_json", piece.text}});
    if (piece.kind == AnswerPiece::Kind::kReasoning) {
      if (open_ != piece.kind && !open(piece.kind, {{"type", "thinking"}, {"thinking", ""}, {"signature", ""}}))
        return false;
      return delta({{"type", "thinking_delta"}, {"thinking", piece.text}});
    }
    if (open_ != piece.kind && !open(piece.kind, {{"type", "text"}, {"text", ""}})) return false;
    return delta({{"type", "text_delta"}, {"text", piece.text}});
  }

  /// An answer has at least one block.
  bool finish() {
    if (!open_ && !open(AnswerPiece::Kind::kContent, {{"type", "text"}, {"text", ""}})) return false;
    return close();
  }

 private:
  bool open(AnswerPiece::Kind kind, Json block) {
    if (open_ && !close()) return false;
    open_ = kind;
    return write_(named_event("content_block_start", {{"index", index_}, {"content_block", std::move(block)}}));
  }
  bool close() {
    open_.reset();
    return write_(named_event("content_block_stop", {{"index", index_++}}));
  }
  bool delta(Json delta) const {
    return write_(named_event("content_block_delta", {{"index", index_}, {"delta", std::move(delta)}}));
  }

  std::string id_;
  const Write& write_;
  std::optional<AnswerPiece::Kind> open_;
  int index_ = 0;
};

struct MessageStream {
  Answering answering;
  std::shared_ptr<const ChatRequest> request;
  Listener listener;
  std::shared_ptr<RequestRecord> record;
  std::function<bool()> gone;

  bool finish(const Event& event, int calls, const Write& write) const {
    record->completion_tokens = event.completion_tokens;
    const End end = end_of(event.finish, event.stop, answering.stops, static_cast<size_t>(calls));
    return write(named_event("message_delta", {{"delta", {{"stop_reason", end.reason}, {"stop_sequence", end.stop}}},
                                               {"usage", {{"output_tokens", event.completion_tokens}}}})) &&
           write(named_event("message_stop", Json::object()));
  }

  void operator()(const Write& write) const {
    AnswerParser parser(*request->conversation.form, request->parse);
    Blocks blocks(answering.id, write);
    bool begun = false;
    const auto ended = each_event(listener.channel(), 1, gone, [&](Event& event) {
      if (!std::exchange(begun, true)) {
        record->cached_tokens = event.cached_tokens;
        const Json message = answering.message(Json::array(), {"", nullptr}, *record);
        if (!write(named_event("message_start", {{"message", message}}))) return false;
      }
      std::vector<AnswerPiece> pieces = parser.push(event.text);
      if (event.last) std::ranges::move(parser.finish(), std::back_inserter(pieces));
      for (const AnswerPiece& piece : pieces) {
        if (!blocks.add(piece)) return false;
      }
      return !event.last || (blocks.finish() && finish(event, parser.calls(), write));
    });
    if (ended) return;
    record->status = ended.error().status;
    write(named_event("error", refusal_json(ended.error())));
  }
};

Json content_of(const Answering& answering, const ParsedAnswer& answer) {
  Json content = Json::array();
  if (!answer.reasoning.empty())
    content.push_back({{"type", "thinking"}, {"thinking", answer.reasoning}, {"signature", ""}});
  if (!answer.content.empty() || answer.calls.empty()) content.push_back({{"type", "text"}, {"text", answer.content}});
  for (size_t i = 0; i < answer.calls.size(); ++i) {
    Json input = Json::parse(answer.calls[i].arguments, nullptr, false);
    if (!input.is_object()) input = Json::object();
    content.push_back({{"type", "tool_use"},
                       {"id", "toolu_" + call_id(answering.id, 0, static_cast<int>(i))},
                       {"name", answer.calls[i].name},
                       {"input", std::move(input)}});
  }
  return content;
}

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
  LAMINA_ASSIGN(const Json body, chat_body_of(call.body));
  LAMINA_ASSIGN(ChatRequest read, read_chat(model, body));
  const auto request = std::make_shared<const ChatRequest>(std::move(read));
  call.record->prompt_tokens = std::ssize(request->prompt);
  const auto channel = std::make_shared<Channel>();
  plan.job.channel = channel;
  assign_client(plan.job, call);
  request->apply(plan.job);
  Answering answering{.id = "msg_" + call.record->id, .model = model, .stops = plan.job.stops};
  LAMINA_ASSIGN(std::vector<GenerationJob> jobs, make_jobs(plan, model, {request->prompt}));
  LAMINA_CHECK_OK(call.service.scheduler().submit(index, std::move(jobs)));
  if (plan.stream) {
    return Reply{.type = "text/event-stream",
                 .headers = {{"Cache-Control", "no-cache"}},
                 .stream = MessageStream{.answering = std::move(answering),
                                         .request = request,
                                         .listener = Listener(channel),
                                         .record = call.record,
                                         .gone = call.request.gone}};
  }
  LAMINA_ASSIGN(const std::vector<PartResult> results, collect(*channel, 1, call.request.gone));
  const PartResult& result = results.front();
  call.record->completion_tokens = result.completion_tokens;
  call.record->cached_tokens = result.cached_tokens;
  const ParsedAnswer answer = parse_answer(*request, result.text);
  return json_reply(answering.message(content_of(answering, answer),
                                      end_of(result.finish, result.stop, answering.stops, answer.calls.size()),
                                      *call.record));
}

Answer<Reply> answer_count_tokens(Call& call) {
  LAMINA_ASSIGN(const size_t index, call.find_model({Task::kGenerate}));
  const ServedModel& model = call.model(index);
  LAMINA_ASSIGN(const Json body, chat_body_of(call.body));
  LAMINA_ASSIGN(const Conversation conversation, render_conversation(model, body));
  LAMINA_ASSIGN(const std::vector<int32_t> prompt, encode_conversation(model, conversation.text));
  return json_reply({{"input_tokens", prompt.size()}});
}

}  // namespace lamina::serve
