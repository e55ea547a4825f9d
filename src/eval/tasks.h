#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "eval/scoring.h"
#include "text/tokenizer.h"

namespace lamina::eval {

/// One question with the only right answer.
struct TaskItem {
  std::string prompt;
  std::string answer;
};

/// Reads JSON lines with the string fields "prompt" and "answer" (others are ignored), at most `limit` (0: all).
/// Errors, with `place` and the line: kCorrupt for what is not such an object, kInvalid when there is no line.
core::Result<std::vector<TaskItem>> parse_tasks(std::string_view text, std::string_view place, int64_t limit);

/// The item as tokens: `prefix` + prompt, then the answer, tokenized separately without added tokens; control tokens
/// that are written in the text count as such. Greedy decoding gives the answer exactly when every token of it is the
/// most likely one after all before it, so one pass over both decides. kInvalid when either has no token.
core::Result<ScoredSequence> task_sequence(const TaskItem& item, std::string_view prefix,
                                           const text::Tokenizer& tokenizer);

/// Per item, 1 when every target was hit, else 0; an item is a window of its own.
Windows exact_matches(const Windows& hits);

}  // namespace lamina::eval
