#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "serve/answer_parser.h"
#include "serve/reply.h"

namespace lamina::serve {

/// The output items of a /v1/responses answer, made while it is written: thoughts, messages and calls, in order.
class ResponseOutput {
 public:
  /// Tells one event of a stream, its type and its fields; false when the client has gone.
  using Tell = std::function<bool(std::string_view type, const Json& fields)>;

  /// `id` is the request's: items are named after it. `tell` null: nobody listens.
  ResponseOutput(std::string id, Tell tell) : id_(std::move(id)), tell_(std::move(tell)) {}

  /// False when the client has gone.
  bool add(const AnswerPiece& piece);
  /// Ends the last item; `status` is the answer's: completed or incomplete. An answer has at least one item.
  bool finish(std::string_view status);

  const Json& items() const { return items_; }
  /// The answer as a message of a conversation.
  Json message() const;

 private:
  using Kind = AnswerPiece::Kind;
  bool open(Kind kind, const AnswerPiece& piece);
  bool close(std::string_view status);
  bool grow(const std::string& text);
  bool tell(std::string_view type, Json fields) const;
  bool tell_part(std::string_view type, Json fields) const;
  Json part() const;

  std::string id_;
  Tell tell_;
  Json items_ = Json::array();  ///< the last one is open while open_ holds
  bool open_ = false;
  Kind kind_ = Kind::kContent;  ///< of the open item
  std::string text_;            ///< of the open item
};

}  // namespace lamina::serve
