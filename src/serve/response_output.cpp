#include "serve/response_output.h"

#include "serve/tools.h"

namespace lamina::serve {

bool ResponseOutput::tell(std::string_view type, Json fields) const {
  if (!tell_) return true;
  fields["output_index"] = items_.size() - 1;
  return tell_(type, fields);
}

/// An event about the text of the open item.
bool ResponseOutput::tell_part(std::string_view type, Json fields) const {
  fields["item_id"] = items_.back()["id"];
  if (kind_ != Kind::kCallBegin) fields["content_index"] = 0;
  return tell(type, std::move(fields));
}

/// The open item's text as its content holds it.
Json ResponseOutput::part() const {
  if (kind_ == Kind::kReasoning) return {{"type", "reasoning_text"}, {"text", text_}};
  return {{"type", "output_text"}, {"text", text_}, {"annotations", Json::array()}, {"logprobs", Json::array()}};
}

bool ResponseOutput::open(Kind kind, const AnswerPiece& piece) {
  if (open_ && !close("completed")) return false;
  open_ = true;
  kind_ = kind;
  text_.clear();
  const size_t index = items_.size();
  if (kind == Kind::kCallBegin) {
    items_.push_back({{"id", fmt::format("fc_{}_{}", id_, index)},
                      {"type", "function_call"},
                      {"status", "in_progress"},
                      {"call_id", "call_" + call_id(id_, 0, piece.call)},
                      {"name", piece.text},
                      {"arguments", ""}});
    return tell("response.output_item.added", {{"item", items_.back()}});
  }
  if (kind == Kind::kReasoning) {
    items_.push_back({{"id", fmt::format("rs_{}_{}", id_, index)},
                      {"type", "reasoning"},
                      {"status", "in_progress"},
                      {"summary", Json::array()},
                      {"content", Json::array()}});
  } else {
    items_.push_back({{"id", fmt::format("msg_{}_{}", id_, index)},
                      {"type", "message"},
                      {"status", "in_progress"},
                      {"role", "assistant"},
                      {"content", Json::array()}});
  }
  return tell("response.output_item.added", {{"item", items_.back()}}) &&
         tell_part("response.content_part.added", {{"part", part()}});
}

bool ResponseOutput::close(std::string_view status) {
  open_ = false;
  Json& item = items_.back();
  item["status"] = status;
  bool heard = true;
  if (kind_ == Kind::kCallBegin) {
    item["arguments"] = text_;
    heard = tell_part("response.function_call_arguments.done", {{"arguments", text_}, {"name", item["name"]}});
  } else {
    item["content"] = Json::array({part()});
    const Json done =
        kind_ == Kind::kReasoning ? Json{{"text", text_}} : Json{{"text", text_}, {"logprobs", Json::array()}};
    heard = tell_part(kind_ == Kind::kReasoning ? "response.reasoning_text.done" : "response.output_text.done", done) &&
            tell_part("response.content_part.done", {{"part", part()}});
  }
  return heard && tell("response.output_item.done", {{"item", item}});
}

/// Adds text to the open item.
bool ResponseOutput::grow(const std::string& text) {
  text_ += text;
  switch (kind_) {
    case Kind::kReasoning:
      return tell_part("response.reasoning_text.delta", {{"delta", text}});
    case Kind::kContent:
      return tell_part("response.output_text.delta", {{"delta", text}, {"logprobs", Json::array()}});
    default:
      return tell_part("response.function_call_arguments.delta", {{"delta", text}});
  }
}

bool ResponseOutput::add(const AnswerPiece& piece) {
  if (piece.kind == Kind::kCallBegin) return open(piece.kind, piece);
  if (piece.text.empty()) return true;
  if (piece.kind == Kind::kCallArguments) return grow(piece.text);
  if ((!open_ || kind_ != piece.kind) && !open(piece.kind, piece)) return false;
  return grow(piece.text);
}

bool ResponseOutput::finish(std::string_view status) {
  if (items_.empty() && !open(Kind::kContent, {})) return false;
  return !open_ || close(status);
}

Json ResponseOutput::message() const {
  Json out{{"role", "assistant"}, {"content", nullptr}};
  std::string thoughts;
  for (const Json& item : items_) {
    if (item["type"] == "function_call") {
      out["tool_calls"].push_back({{"id", item["call_id"]},
                                   {"type", "function"},
                                   {"function", {{"name", item["name"]}, {"arguments", item["arguments"]}}}});
      continue;
    }
    const std::string text = item["content"][0]["text"];
    if (item["type"] == "reasoning") {
      thoughts += text;
    } else {
      out["content"] = (out["content"].is_null() ? "" : out["content"].get<std::string>()) + text;
    }
  }
  if (!thoughts.empty()) out["reasoning_content"] = thoughts;
  if (out["content"].is_null() && !out.contains("tool_calls")) out["content"] = "";
  return out;
}

}  // namespace lamina::serve
