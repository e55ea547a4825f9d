#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "serve/answer_form.h"
#include "serve/call_reader.h"
#include "serve/channel_parser.h"

namespace lamina::serve {

struct ParseOptions {
  bool reasoning = false;      ///< tell thoughts from the answer
  bool begins_inside = false;  ///< the prompt has opened the thoughts
  bool tools = false;          ///< look for calls
  bool continues = false;      ///< the prompt ends inside what the model says
  std::vector<Tool> known{};   ///< the tools that may be called
};

/// Tells what a model thinks, says and calls apart, while it writes. All that comes out, put together, does not depend
/// on how the text is cut into pieces. What looks like a call and is none stays part of the answer.
class AnswerParser {
 public:
  /// `form` must outlive the parser.
  AnswerParser(const AnswerForm& form, const ParseOptions& options);

  std::vector<AnswerPiece> push(std::string_view text);
  /// The rest.
  std::vector<AnswerPiece> finish();
  int calls() const { return channels_ ? channels_->calls() : calls_; }

 private:
  enum class Mode { kBefore, kThinking, kContent, kCall, kBetween };

  bool advance(bool all);
  bool before(bool all);
  bool think(bool all);
  bool say(bool all);
  bool call(bool all);
  bool between(bool all);
  void begin_call(std::string_view tag);
  void break_call();
  void tell(AnswerPiece::Kind kind, std::string text);
  void tell_call();
  std::string_view first_tag() const;

  const AnswerForm& form_;
  ParseOptions options_;
  std::optional<ChannelParser> channels_;  ///< does it all where the form has channels
  Mode mode_ = Mode::kBefore;
  std::string pending_;  ///< not yet understood
  std::string raw_;      ///< of the call that is read, as it was written
  std::unique_ptr<CallReader> reader_;
  bool call_told_ = false;
  bool said_ = false;         ///< content was told
  bool skips_space_ = false;  ///< behind thoughts
  int calls_ = 0;
  std::vector<AnswerPiece> out_;
};

}  // namespace lamina::serve
