#include "serve/channel_parser.h"

#include <algorithm>
#include <array>
#include <utility>

#include "serve/answer_form.h"
#include "serve/tag_text.h"

namespace lamina::serve {

namespace {

constexpr std::string_view kRecipient = "to=";
constexpr std::string_view kFunctions = "functions.";

/// What ends a message.
constexpr std::array kEnds{channel_marks::kEnd, channel_marks::kReturn, channel_marks::kCall, channel_marks::kStart,
                           channel_marks::kChannel};
/// What a head may begin with, where the prompt has named the role.
constexpr std::array kHeads{channel_marks::kStart, channel_marks::kChannel, channel_marks::kMessage,
                            channel_marks::kConstrain, kRecipient};

/// The word behind the mark; empty when it is not there.
std::string_view word_behind(std::string_view head, std::string_view mark) {
  const size_t found = head.find(mark);
  if (found == std::string_view::npos) return {};
  const std::string_view rest = head.substr(found + mark.size());
  return rest.substr(0, rest.find_first_of(" <\n"));
}

}  // namespace

ChannelParser::ChannelParser(bool reasoning, bool tools, bool continues)
    : reasoning_(reasoning), tools_(tools), in_message_(continues) {}

std::vector<AnswerPiece> ChannelParser::push(std::string_view text) {
  pending_ += text;
  while (advance(false)) {
  }
  return std::exchange(out_, {});
}

std::vector<AnswerPiece> ChannelParser::finish() {
  while (advance(true)) {
  }
  return std::exchange(out_, {});
}

/// One step; false when it needs more text. `all`: no more comes.
bool ChannelParser::advance(bool all) {
  return in_message_ ? read_message(all) : read_head(all);
}

bool ChannelParser::read_head(bool all) {
  const std::string_view text = without_space(pending_);
  if (text.empty()) return false;
  const bool head = std::ranges::any_of(
      kHeads, [&](std::string_view mark) { return text.starts_with(mark) || (!all && mark.starts_with(text)); });
  if (!head) {  // a model that does without
    kind_ = AnswerPiece::Kind::kContent;
    in_message_ = true;
    return true;
  }
  const size_t found = pending_.find(channel_marks::kMessage);
  if (found == std::string::npos) {
    if (all) pending_.clear();  // a head that was cut off
    return false;
  }
  open(std::string_view(pending_).substr(0, found));
  pending_.erase(0, found + channel_marks::kMessage.size());
  in_message_ = true;
  return true;
}

void ChannelParser::open(std::string_view head) {
  std::string_view recipient = word_behind(head, kRecipient);
  if (tools_ && !recipient.empty()) {
    if (recipient.starts_with(kFunctions)) recipient.remove_prefix(kFunctions.size());
    kind_ = AnswerPiece::Kind::kCallArguments;
    out_.push_back({.kind = AnswerPiece::Kind::kCallBegin, .text = std::string(recipient), .call = calls_++});
    return;
  }
  const bool thought = word_behind(head, channel_marks::kChannel) == "analysis";
  kind_ = thought && reasoning_ ? AnswerPiece::Kind::kReasoning : AnswerPiece::Kind::kContent;
}

void ChannelParser::tell(std::string text) {
  if (text.empty()) return;
  const int call = std::max(0, calls_ - 1);
  if (!out_.empty() && out_.back().kind == kind_ && out_.back().call == call) {
    out_.back().text += text;
  } else {
    out_.push_back({.kind = kind_, .text = std::move(text), .call = call});
  }
}

bool ChannelParser::read_message(bool all) {
  size_t end = std::string::npos;
  std::string_view mark;
  size_t held = 0;
  for (const std::string_view one : kEnds) {
    const size_t found = pending_.find(one);
    if (found < end) {
      end = found;
      mark = one;
    }
    held = std::max(held, held_back(pending_, one));
  }
  if (end == std::string::npos) {
    const size_t size = all ? pending_.size() : pending_.size() - held;
    tell(pending_.substr(0, size));
    pending_.erase(0, size);
    return false;
  }
  tell(pending_.substr(0, end));
  // The next head begins with these two.
  const bool head = mark == channel_marks::kStart || mark == channel_marks::kChannel;
  pending_.erase(0, head ? end : end + mark.size());
  in_message_ = false;
  return true;
}

}  // namespace lamina::serve
