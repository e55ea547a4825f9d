#include "serve/reply.h"

namespace lamina::serve {

namespace {

constexpr int kBadRequest = 400;
constexpr int kNotFound = 404;
constexpr int kTooMany = 429;
constexpr int kFault = 500;
constexpr int kUnavailable = 503;

int status_of(const core::Error& error) {
  switch (error.code) {
    case core::ErrorCode::kNotFound:
      return kNotFound;
    case core::ErrorCode::kLimit:
      return error.place == "queue" ? kTooMany : kBadRequest;
    case core::ErrorCode::kCancelled:
      return kUnavailable;
    case core::ErrorCode::kIo:
      return kFault;
    case core::ErrorCode::kInvalid:
    case core::ErrorCode::kCorrupt:
    case core::ErrorCode::kUnsupported:
      break;
  }
  return kBadRequest;
}

}  // namespace

Refusal::Refusal(const core::Error& error) : status(status_of(error)), message(error.text()), field(error.place) {
  if (status == kTooMany) code = "queue_full";
}

std::string_view Refusal::type() const {
  if (status == 401) return "authentication_error";
  if (status == 403) return "permission_error";
  if (status == kNotFound) return "not_found_error";
  if (status == kTooMany) return "rate_limit_error";
  return status >= kFault ? "server_error" : "invalid_request_error";
}

std::string to_text(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Reply json_reply(const Json& value) {
  return {.body = to_text(value)};
}

Json refusal_json(const Refusal& refusal) {
  return {{"error",
           {{"message", refusal.message},
            {"type", refusal.type()},
            {"param", refusal.field.empty() ? Json() : Json(refusal.field)},
            {"code", refusal.code.empty() ? Json() : Json(refusal.code)}}}};
}

Reply refusal_reply(const Refusal& refusal) {
  Reply reply = json_reply(refusal_json(refusal));
  reply.status = refusal.status;
  if (refusal.status == kTooMany || refusal.status == kUnavailable) reply.headers.emplace_back("Retry-After", "1");
  if (refusal.status == 401) reply.headers.emplace_back("WWW-Authenticate", "Bearer");
  return reply;
}

}  // namespace lamina::serve
