#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <string>

#include "serve/answer_form.h"
#include "serve/reply.h"
#include "serve/tools.h"
#include "text/token_grammar.h"

namespace lamina::serve {

/// What the text of an answer must be.
struct AnswerRule {
  enum class Kind { kFree, kJsonObject, kSchema, kRegex, kChoice, kGrammar };
  Kind kind = Kind::kFree;
  Json schema{};        ///< or the choices
  std::string text{};   ///< of the expression or the grammar
  std::string place{};  ///< in the request
};

/// From the fields response_format and structured_outputs of a checked body.
Answer<AnswerRule> read_rule(const Json& body);

/// All that decides which texts an answer may be.
struct GrammarRequest {
  AnswerRule rule{};
  ToolUse tools{};
  const AnswerForm* form = nullptr;  ///< null: no conversation, the text alone
  bool may_think = false;            ///< thoughts may stand before it
  bool begins_inside = false;        ///< the prompt has opened the model's thoughts
  bool continues = false;            ///< the prompt ends inside what the model says
};

/// Compiled grammars of one model, the last ones kept. For any thread.
class Grammars {
 public:
  /// The grammar that holds for an answer; null: it is free. 400: one that cannot be kept to, with its place.
  Answer<std::shared_ptr<const text::TokenGrammar>> find(const GrammarRequest& request,
                                                         const text::Tokenizer& tokenizer);

  /// What answers to this template are made of.
  const AnswerForm& form(std::string_view chat_template, const text::Tokenizer& tokenizer);

 private:
  static constexpr size_t kKept = 32;
  struct Entry {
    std::string key;
    std::shared_ptr<const text::TokenGrammar> grammar;
  };

  Answer<std::shared_ptr<const text::TokenBytes>> bytes(const text::Tokenizer& tokenizer);

  std::mutex mutex_;
  std::mutex bytes_mutex_;
  std::shared_ptr<const text::TokenBytes> bytes_;
  std::unique_ptr<const AnswerForm> form_;
  std::list<Entry> kept_;  ///< the last used first
};

}  // namespace lamina::serve
