#include "serve/answer_parser.h"

#include <algorithm>
#include <array>
#include <utility>

#include "serve/tag_text.h"

namespace lamina::serve {

AnswerParser::AnswerParser(const AnswerForm& form, const ParseOptions& options) : form_(form), options_(options) {
  options_.reasoning = options_.reasoning && form_.thinks != nullptr;
  if (options_.reasoning && options_.begins_inside) mode_ = Mode::kThinking;
  if (form_.tools->channels) channels_.emplace(options.reasoning, options.tools, options.continues);
}

std::vector<AnswerPiece> AnswerParser::push(std::string_view text) {
  if (channels_) return channels_->push(text);
  pending_ += text;
  while (advance(false)) {
  }
  return std::exchange(out_, {});
}

std::vector<AnswerPiece> AnswerParser::finish() {
  if (channels_) return channels_->finish();
  while (advance(true)) {
  }
  return std::exchange(out_, {});
}

/// One step; false when it needs more text. `all`: no more comes.
bool AnswerParser::advance(bool all) {
  switch (mode_) {
    case Mode::kBefore:
      return before(all);
    case Mode::kThinking:
      return think(all);
    case Mode::kContent:
      return say(all);
    case Mode::kCall:
      return call(all);
    case Mode::kBetween:
      return between(all);
  }
  return false;
}

void AnswerParser::tell(AnswerPiece::Kind kind, std::string text) {
  if (text.empty()) return;
  said_ = said_ || kind == AnswerPiece::Kind::kContent;
  if (!out_.empty() && out_.back().kind == kind) {
    out_.back().text += text;
  } else {
    out_.push_back({.kind = kind, .text = std::move(text), .call = calls_});
  }
}

/// The tag that opens calls; empty: none does.
std::string_view AnswerParser::first_tag() const {
  if (!options_.tools) return {};
  return core_of(form_.tools->block_begin.empty() ? form_.tools->begin : form_.tools->block_begin);
}

/// Before anything was said: thoughts, a bare call, or content.
bool AnswerParser::before(bool all) {
  const std::string_view text = without_space(pending_);
  if (text.empty() && !all) return false;
  if (options_.reasoning) {
    const std::string_view open = form_.thinks->open;
    if (text.starts_with(open)) {
      pending_ = std::string(text.substr(open.size()));
      mode_ = Mode::kThinking;
      return true;
    }
    if (!all && open.starts_with(text)) return false;
  }
  if (options_.tools && form_.tools->bare && text.starts_with('{')) {
    pending_ = std::string(text);
    begin_call("");
    return true;
  }
  mode_ = Mode::kContent;
  return true;
}

bool AnswerParser::think(bool all) {
  const std::string_view close = form_.thinks->close;
  const size_t found = pending_.find(close);
  const size_t size = found != std::string::npos ? found
                      : all                      ? pending_.size()
                                                 : pending_.size() - held_back(pending_, close);
  std::string text = pending_.substr(0, size);
  // A line's end behind the opening tag, and before the closing one, belongs to the tags.
  const bool first = !skips_space_;
  if (first) {
    const size_t begin = text.find_first_not_of(kTagSpace);
    text = begin == std::string::npos ? "" : text.substr(begin);
    if (!text.empty()) skips_space_ = true;
  }
  const size_t last = text.find_last_not_of(kTagSpace);
  const size_t kept = last == std::string::npos ? 0 : last + 1;
  const std::string space = text.substr(kept);
  tell(AnswerPiece::Kind::kReasoning, text.substr(0, kept));
  if (found != std::string::npos) {
    pending_.erase(0, found + close.size());
    mode_ = Mode::kBefore;
    options_.reasoning = false;
    skips_space_ = true;
    const std::string_view rest = without_space(pending_);
    pending_ = std::string(rest);
    return true;
  }
  pending_ = space + pending_.substr(size);
  return false;
}

bool AnswerParser::say(bool all) {
  const std::string_view tag = first_tag();
  if (skips_space_ && !said_) pending_ = std::string(without_space(pending_));
  const size_t found = tag.empty() ? std::string::npos : pending_.find(tag);
  if (found != std::string::npos) {
    // Space before a call separates it.
    const size_t last = pending_.find_last_not_of(kTagSpace, found == 0 ? std::string::npos : found - 1);
    const size_t kept = found == 0 || last == std::string::npos ? 0 : std::min(last + 1, found);
    tell(AnswerPiece::Kind::kContent, pending_.substr(0, kept));
    pending_.erase(0, found + tag.size());
    begin_call(tag);
    return true;
  }
  size_t size = pending_.size();
  if (!all && !tag.empty()) {
    size -= held_back(pending_, tag);
    const size_t last = pending_.find_last_not_of(kTagSpace, size == 0 ? 0 : size - 1);
    size = size == 0 || last == std::string::npos ? 0 : std::min(last + 1, size);
  }
  tell(AnswerPiece::Kind::kContent, pending_.substr(0, size));
  pending_.erase(0, size);
  return false;
}

void AnswerParser::begin_call(std::string_view tag) {
  const ToolForm& form = *form_.tools;
  raw_ = tag;
  reader_.reset();
  call_told_ = false;
  // With tags around all calls, what comes next is the first call's own tag, or the list's bracket.
  const bool inner = !tag.empty() && !form.block_begin.empty() && (form.list || !form.begin.empty());
  mode_ = inner ? Mode::kBetween : Mode::kCall;
  if (!inner) reader_ = make_call_reader(form, options_.known);
}

void AnswerParser::tell_call() {
  if (!reader_->named()) return;
  if (!std::exchange(call_told_, true)) {
    out_.push_back({.kind = AnswerPiece::Kind::kCallBegin, .text = reader_->name(), .call = calls_});
    ++calls_;
  }
  std::string arguments = reader_->take_arguments();
  if (arguments.empty()) return;
  if (!out_.empty() && out_.back().kind == AnswerPiece::Kind::kCallArguments && out_.back().call == calls_ - 1) {
    out_.back().text += arguments;
  } else {
    out_.push_back({.kind = AnswerPiece::Kind::kCallArguments, .text = std::move(arguments), .call = calls_ - 1});
  }
}

/// It was no call after all: what was written of it is content, unless it has been told.
void AnswerParser::break_call() {
  if (!call_told_) tell(AnswerPiece::Kind::kContent, raw_);
  raw_.clear();
  reader_.reset();
  mode_ = Mode::kContent;
}

bool AnswerParser::call(bool all) {
  for (size_t i = 0; i < pending_.size(); ++i) {
    raw_.push_back(pending_[i]);
    const CallReader::State state = reader_->take(pending_[i]);
    if (state == CallReader::State::kMore) continue;
    tell_call();
    pending_.erase(0, i + 1);
    if (state == CallReader::State::kBroken) {
      break_call();
    } else {
      raw_.clear();
      mode_ = Mode::kBetween;
    }
    return true;
  }
  pending_.clear();
  tell_call();
  if (all) break_call();
  return false;
}

/// Between two calls, or behind the last: tags, commas and brackets.
bool AnswerParser::between(bool all) {
  const ToolForm& form = *form_.tools;
  struct Tag {
    std::string_view text;
    bool begins;
  };
  const std::array<Tag, 6> tags{{{core_of(form.end), false},
                                 {core_of(form.block_end), false},
                                 {core_of(form.begin), true},
                                 {form.list ? "[" : "", true},
                                 {form.list ? "," : "", true},
                                 {form.list ? "]" : "", false}}};
  const std::string_view text = without_space(pending_);
  if (text.empty()) {
    if (all) pending_.clear();
    return false;
  }
  bool may_come = false;
  for (const Tag& tag : tags) {
    if (tag.text.empty()) continue;
    if (text.starts_with(tag.text)) {
      raw_ += tag.begins ? std::string(tag.text) : std::string();
      pending_ = std::string(text.substr(tag.text.size()));
      if (tag.begins) {
        call_told_ = false;
        reader_ = make_call_reader(form, options_.known);
        mode_ = Mode::kCall;
      }
      return true;
    }
    may_come = may_come || tag.text.starts_with(text);
  }
  if (may_come) {
    if (all) pending_.clear();
    return false;
  }
  if (!raw_.empty()) pending_.insert(0, std::exchange(raw_, {}));
  mode_ = Mode::kContent;
  return true;
}

}  // namespace lamina::serve
