#include "eval/tasks.h"

#include <algorithm>

#include "format/json.h"

namespace lamina::eval {

using core::ErrorCode;
using core::fail;
using core::Result;

namespace {

Result<TaskItem> parse_item(std::string_view line, const std::string& place) {
  LAMINA_ASSIGN(const nlohmann::json json, format::parse_json(line, place));
  TaskItem item;
  for (const auto& [key, field] : {std::pair{"prompt", &item.prompt}, std::pair{"answer", &item.answer}}) {
    const auto found = json.is_object() ? json.find(key) : json.end();
    if (!json.is_object() || found == json.end() || !found->is_string()) {
      return fail(ErrorCode::kCorrupt, place,
                  "no text in the field \"{}\"; an object with \"prompt\" and \"answer\" expected", key);
    }
    *field = found->get<std::string>();
  }
  return item;
}

}  // namespace

Result<std::vector<TaskItem>> parse_tasks(std::string_view text, std::string_view place, int64_t limit) {
  std::vector<TaskItem> items;
  for (int64_t number = 1; !text.empty() && (limit <= 0 || static_cast<int64_t>(items.size()) < limit); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    LAMINA_ASSIGN(TaskItem item, parse_item(line, fmt::format("{}, line {}", place, number)));
    items.push_back(std::move(item));
  }
  if (items.empty())
    return fail(ErrorCode::kInvalid, place, "no items; JSON lines with \"prompt\" and \"answer\" expected");
  return items;
}

Result<ScoredSequence> task_sequence(const TaskItem& item, std::string_view prefix, const text::Tokenizer& tokenizer) {
  constexpr text::EncodeOptions kOptions{.add_special = false, .parse_special = true};
  LAMINA_ASSIGN(std::vector<int32_t> tokens, tokenizer.encode(std::string(prefix) + item.prompt, kOptions));
  LAMINA_ASSIGN(const std::vector<int32_t> answer, tokenizer.encode(item.answer, kOptions));
  if (tokens.empty() || answer.empty()) {
    return fail(ErrorCode::kInvalid, "task", "a prompt of {} tokens and an answer of {}; at least one each expected",
                tokens.size(), answer.size());
  }
  const auto first_target = static_cast<int64_t>(tokens.size());
  tokens.insert(tokens.end(), answer.begin(), answer.end());
  return ScoredSequence{.tokens = std::move(tokens), .first_target = first_target};
}

Windows exact_matches(const Windows& hits) {
  Windows matches;
  for (size_t i = 0; i < hits.windows(); ++i) {
    const double all = std::ranges::all_of(hits.window(i), [](double hit) { return hit == 1; }) ? 1 : 0;
    matches.add(std::span(&all, 1));
  }
  return matches;
}

}  // namespace lamina::eval
