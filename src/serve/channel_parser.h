#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace lamina::serve {

/// A piece of an answer, by what it is.
struct AnswerPiece {
  enum class Kind { kReasoning, kContent, kCallBegin, kCallArguments };
  Kind kind = Kind::kContent;
  std::string text{};  ///< of a call's begin: the tool's name
  int call = 0;        ///< which call
};

/// Tells thoughts, calls and what is said apart in an answer of messages, each with a channel and perhaps a recipient
/// (OpenAI's harmony format): analysis is thought, what goes to a function is a call, all else is said. What comes out
/// does not depend on how the text is cut.
class ChannelParser {
 public:
  /// `continues`: the answer goes on inside a message that the prompt has begun.
  ChannelParser(bool reasoning, bool tools, bool continues);

  std::vector<AnswerPiece> push(std::string_view text);
  /// The rest.
  std::vector<AnswerPiece> finish();
  int calls() const { return calls_; }

 private:
  bool advance(bool all);
  bool read_head(bool all);
  bool read_message(bool all);
  void open(std::string_view head);
  void tell(std::string text);

  bool reasoning_ = false;
  bool tools_ = false;
  bool in_message_ = false;
  AnswerPiece::Kind kind_ = AnswerPiece::Kind::kContent;
  std::string pending_;  ///< not yet understood
  int calls_ = 0;
  std::vector<AnswerPiece> out_;
};

}  // namespace lamina::serve
