#include "text/wordpiece.h"

#include <algorithm>

#include "text/utf8.h"

namespace lamina::text {
namespace {

core::Status no_unknown(std::string_view word) {
  return core::fail(core::ErrorCode::kInvalid, "text", "\"{}\" has no token, and the tokenizer no unknown token",
                    word.substr(0, 64));
}

}  // namespace

core::Result<std::unique_ptr<TokenModel>> WordPieceModel::make(
    const std::vector<std::pair<std::string, int32_t>>& vocabulary, WordPieceOptions options) {
  if (options.max_characters < 0) {
    return core::fail(core::ErrorCode::kCorrupt, "model", "max_input_chars_per_word is {}", options.max_characters);
  }
  std::unique_ptr<WordPieceModel> model(new WordPieceModel);
  model->options_ = std::move(options);
  model->set_control(model->options_.control);
  const std::string& prefix = model->options_.continuing_prefix;
  for (const auto& [key, id] : vocabulary) {
    if (!model->heads_.insert(key, id)) {
      return core::fail(core::ErrorCode::kCorrupt, "vocabulary", "token \"{}\" occurs twice", key);
    }
    if (key.starts_with(prefix)) model->tails_.insert(std::string_view(key).substr(prefix.size()), id);
    model->longest_ = std::max(model->longest_, key.size());
  }
  return std::unique_ptr<TokenModel>(std::move(model));
}

core::Status WordPieceModel::encode_anew(std::string_view word, bool control, std::vector<int32_t>& ids) const {
  const size_t before = ids.size();
  bool known = count_characters(word) <= static_cast<size_t>(options_.max_characters);
  for (size_t begin = 0; known && begin < word.size();) {
    const StringMap& tokens = begin == 0 ? heads_ : tails_;
    size_t end = std::min(word.size(), begin + longest_);
    while (end < word.size() && (static_cast<unsigned char>(word[end]) & 0xC0) == 0x80) --end;
    int32_t id = -1;
    for (; end > begin; end = previous_start(word, end)) {
      id = tokens.find(word.substr(begin, end - begin));
      if (!control && is_control(id)) id = -1;
      if (id >= 0) break;
    }
    known = id >= 0;
    if (known) ids.push_back(id);
    begin = end;
  }
  if (known) return {};
  ids.resize(before);
  if (options_.unknown < 0) return no_unknown(word);
  ids.push_back(options_.unknown);
  return {};
}

core::Result<std::unique_ptr<TokenModel>> WordLevelModel::make(
    const std::vector<std::pair<std::string, int32_t>>& vocabulary, int32_t unknown,
    const std::vector<int32_t>& control) {
  std::unique_ptr<WordLevelModel> model(new WordLevelModel);
  model->unknown_ = unknown;
  model->set_control(control);
  for (const auto& [key, id] : vocabulary) {
    if (!model->words_.insert(key, id)) {
      return core::fail(core::ErrorCode::kCorrupt, "vocabulary", "token \"{}\" occurs twice", key);
    }
  }
  return std::unique_ptr<TokenModel>(std::move(model));
}

core::Status WordLevelModel::encode_anew(std::string_view word, bool control, std::vector<int32_t>& ids) const {
  int32_t id = words_.find(word);
  if (!control && is_control(id)) id = -1;
  if (id < 0 && unknown_ < 0) return no_unknown(word);
  ids.push_back(id < 0 ? unknown_ : id);
  return {};
}

}  // namespace lamina::text
