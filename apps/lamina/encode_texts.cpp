#include "lamina/encode_texts.h"

#include <algorithm>

#include "embed/rerank.h"

namespace lamina::app {

using core::ErrorCode;
using core::fail;
using core::Result;

namespace {

constexpr int64_t kCachedLimit = 4096;
constexpr int64_t kStepRows = 1024;
constexpr int32_t kStepTexts = 64;

core::Status check_length(int64_t tokens, const TextRules& rules) {
  if (tokens <= rules.limit || rules.truncate) return {};
  return fail(ErrorCode::kLimit, fmt::format("text {}", rules.index),
              "{} tokens; the model takes {}, --truncate cuts it", tokens, rules.limit);
}

}  // namespace

Result<int64_t> text_limit(const CommonOptions& options, int64_t own, const models::Model& model) {
  if (options.context > model.context()) {
    return fail(ErrorCode::kInvalid, "--ctx", "{} positions; the model was made for {}", options.context,
                model.context());
  }
  if (options.context > 0) return options.context;
  return model.reads_ahead() ? own : std::min(own, kCachedLimit);
}

SessionNeeds encoder_needs(int64_t limit, const models::Model& model) {
  // A model that keeps a cache holds all positions of each open sequence; one that reads ahead only those of a step.
  return {.context = limit,
          .sequences = model.reads_ahead() ? kStepTexts : 1,
          .max_rows = std::max(limit, kStepRows),
          .tokenizer = true,
          .encoder = true};
}

Result<embed::Input> encode_text(const text::Tokenizer& tokenizer, const std::string& text, const TextRules& rules) {
  LAMINA_ASSIGN(std::vector<int32_t> whole, tokenizer.encode(text));
  const auto tokens = static_cast<int64_t>(whole.size());
  LAMINA_CHECK_OK(check_length(tokens, rules));
  if (tokens > rules.limit) {
    LAMINA_ASSIGN(const std::vector<int32_t> body,
                  tokenizer.encode(text, {.add_special = false, .parse_special = false}));
    const auto special = tokens - static_cast<int64_t>(body.size());
    if (special >= rules.limit)
      return fail(ErrorCode::kLimit, "text", "{} special tokens leave no room in {}", special, rules.limit);
    const auto found = std::ranges::search(whole, body).begin();
    const auto cut = tokens - rules.limit;
    const auto end = found + static_cast<std::ptrdiff_t>(body.size());
    whole.erase(end - cut, end);
  }
  return embed::Input{.ids = std::move(whole), .types = {}};
}

Result<text::PairTemplate> load_pair_template(const models::Model& model, const text::Tokenizer& tokenizer) {
  if (model.files().gguf() != nullptr) return text::PairTemplate::from_names(tokenizer);
  LAMINA_ASSIGN(const std::optional<std::string> json, model.files().read_text("tokenizer.json"));
  return text::PairTemplate::from_json(json.value_or(""));
}

Result<embed::Input> encode_pair(const text::Tokenizer& tokenizer, const text::PairTemplate& pair,
                                 const std::string& first, const std::string& second, const TextRules& rules) {
  const text::EncodeOptions plain{.add_special = false, .parse_special = false};
  LAMINA_ASSIGN(std::vector<int32_t> a, tokenizer.encode(first, plain));
  LAMINA_ASSIGN(std::vector<int32_t> b, tokenizer.encode(second, plain));
  LAMINA_CHECK_OK(check_length(std::ssize(a) + std::ssize(b) + pair.special_tokens(), rules));
  const embed::PairLengths kept = embed::cut_pair(std::ssize(a), std::ssize(b), rules.limit - pair.special_tokens());
  if (std::min(kept.first, kept.second) < 0) {
    return fail(ErrorCode::kLimit, "text", "{} special tokens leave no room in {}", pair.special_tokens(), rules.limit);
  }
  a.resize(static_cast<size_t>(kept.first));
  b.resize(static_cast<size_t>(kept.second));
  text::PairTokens filled = pair.fill(a, b);
  return embed::Input{.ids = std::move(filled.ids), .types = std::move(filled.types)};
}

}  // namespace lamina::app
