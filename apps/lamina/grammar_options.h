#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <string>

#include "text/token_grammar.h"

namespace lamina::app {

/// What a text must keep to: one of these, or nothing.
struct GrammarOptions {
  std::string json_schema;  ///< a file; "-": standard input
  std::string regex;
  std::string grammar;  ///< a file
  bool json = false;    ///< any JSON object

  bool any() const { return json || !json_schema.empty() || !regex.empty() || !grammar.empty(); }
};

/// Declares --json-schema, --regex, --grammar and --json-object.
void add_grammar_options(CLI::App& command, GrammarOptions& options);

/// Reads what the options name. Errors name the file and the place in it.
core::Result<text::Grammar> read_grammar(const GrammarOptions& options);

/// The same over a vocabulary; null without options.
core::Result<std::shared_ptr<const text::TokenGrammar>> read_token_grammar(const GrammarOptions& options,
                                                                           const text::Tokenizer& tokenizer);

}  // namespace lamina::app
