#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "format/model_files.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace lamina::app {

/// Compiles the template that `place` (a model's file or folder) has; a mistake in it is the file's.
core::Result<text::ChatTemplate> compile_template(std::string source, const std::string& place);

/// Turns the messages of a chat into the tokens that the model was trained to see.
class Conversation {
 public:
  /// The model's own chat template; kUnsupported with a hint at --raw when it has none.
  static core::Result<Conversation> create(const format::ModelFiles& files, const text::Tokenizer& tokenizer);

  void add(const std::string& role, const std::string& content) {
    messages_.push_back({{"role", role}, {"content", content}});
  }
  void clear() { messages_.clear(); }
  size_t size() const { return messages_.size(); }
  /// Takes back the last message.
  void drop_last() { messages_.erase(messages_.size() - 1); }
  /// The prompt with the beginning of the answer.
  core::Result<std::string> render() const;
  core::Result<std::vector<int32_t>> tokens() const;

 private:
  Conversation(text::ChatTemplate chat_template, const text::Tokenizer& tokenizer)
      : template_(std::move(chat_template)), tokenizer_(&tokenizer) {}

  text::ChatTemplate template_;
  const text::Tokenizer* tokenizer_;
  nlohmann::ordered_json messages_ = nlohmann::ordered_json::array();
};

/// Tokens of a rendered template: its special tokens are parsed, and none is added that the text already begins with.
core::Result<std::vector<int32_t>> encode_rendered(const text::Tokenizer& tokenizer, const std::string& text);

}  // namespace lamina::app
