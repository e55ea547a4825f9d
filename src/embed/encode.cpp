#include "embed/encode.h"

#include <algorithm>

#include "text/utf8.h"

namespace lamina::embed {

using core::ErrorCode;
using core::fail;
using core::Result;

namespace {

constexpr text::EncodeOptions kPlain{.add_special = false, .parse_special = false};

core::Status check_length(int64_t tokens, const TextRules& rules) {
  if (tokens <= rules.limit || rules.truncate) return {};
  return fail(ErrorCode::kLimit, fmt::format("text {}", rules.index), "{} tokens; at most {} expected, --truncate cuts",
              tokens, rules.limit);
}

core::Status check_room(int64_t special, const TextRules& rules) {
  if (special <= rules.limit) return {};
  return fail(ErrorCode::kLimit, fmt::format("text {}", rules.index), "{} special tokens do not fit into {}", special,
              rules.limit);
}

}  // namespace

std::string prepare_text(const Settings& settings, const std::string& prompt, const std::string& text) {
  if (!settings.lower_case) return prompt + text;
  std::string whole;
  text::append_valid(whole, prompt + text);
  std::string lower;
  for (size_t at = 0; at < whole.size();) text::append_lower(lower, text::next_character(whole, at));
  return lower;
}

Result<Input> encode_text(const text::Tokenizer& tokenizer, const std::string& text, const TextRules& rules) {
  LAMINA_ASSIGN(std::vector<int32_t> whole, tokenizer.encode(text));
  const std::ptrdiff_t tokens = std::ssize(whole);
  LAMINA_CHECK_OK(check_length(tokens, rules));
  if (tokens > rules.limit) {
    LAMINA_ASSIGN(const std::vector<int32_t> body, tokenizer.encode(text, kPlain));
    LAMINA_CHECK_OK(check_room(tokens - std::ssize(body), rules));
    const auto found = std::ranges::search(whole, body);
    if (std::ssize(found) != std::ssize(body)) {
      return fail(ErrorCode::kUnsupported, fmt::format("text {}", rules.index),
                  "the tokenizer mixes special tokens into the text, which cannot be cut then");
    }
    whole.erase(found.end() - (tokens - rules.limit), found.end());
  }
  return Input{.ids = std::move(whole), .types = {}};
}

Result<text::PairTemplate> load_pair_template(const models::Model& model, const text::Tokenizer& tokenizer) {
  if (model.files().gguf() != nullptr) return text::PairTemplate::from_names(tokenizer);
  LAMINA_ASSIGN(const std::optional<std::string> json, model.files().read_text("tokenizer.json"));
  return text::PairTemplate::from_json(json.value_or(""));
}

Result<Input> encode_pair(const text::Tokenizer& tokenizer, const text::PairTemplate& pair, const std::string& first,
                          const std::string& second, const TextRules& rules) {
  LAMINA_ASSIGN(std::vector<int32_t> a, tokenizer.encode(first, kPlain));
  LAMINA_ASSIGN(std::vector<int32_t> b, tokenizer.encode(second, kPlain));
  LAMINA_CHECK_OK(check_length(std::ssize(a) + std::ssize(b) + pair.special_tokens(), rules));
  LAMINA_CHECK_OK(check_room(pair.special_tokens(), rules));
  const PairLengths kept = cut_pair(std::ssize(a), std::ssize(b), rules.limit - pair.special_tokens());
  a.resize(static_cast<size_t>(kept.first));
  b.resize(static_cast<size_t>(kept.second));
  text::PairTokens filled = pair.fill(a, b);
  return Input{.ids = std::move(filled.ids), .types = std::move(filled.types)};
}

PairLengths cut_pair(int64_t first, int64_t second, int64_t room) {
  if (first + second <= room) return {first, second};
  const int64_t shorter = std::min({first, second, room / 2});
  return first > second ? PairLengths{room - shorter, shorter} : PairLengths{shorter, room - shorter};
}

Result<int64_t> prompt_rows(const text::Tokenizer& tokenizer, const std::string& prompt) {
  if (prompt.empty()) return 0;
  LAMINA_ASSIGN(const std::vector<int32_t> ids, tokenizer.encode(prompt));
  const bool closed = !ids.empty() && tokenizer.is_special(ids.back());
  return std::ssize(ids) - (closed ? 1 : 0);
}

}  // namespace lamina::embed
