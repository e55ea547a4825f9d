#include "lamina/grammar_options.h"

#include <nlohmann/json.hpp>

#include "lamina/cli.h"
#include "text/json_schema.h"
#include "text/regex.h"

namespace lamina::app {

using core::ErrorCode;
using core::fail;
using core::Result;

void add_grammar_options(CLI::App& command, GrammarOptions& options) {
  CLI::Option* schema =
      command.add_option("--json-schema", options.json_schema, "write JSON that keeps to the schema in this file");
  CLI::Option* regex = command.add_option("--regex", options.regex, "write what this regular expression matches");
  CLI::Option* grammar =
      command.add_option("--grammar", options.grammar, "write what the grammar in this file (GBNF) allows");
  CLI::Option* json = command.add_flag("--json-object", options.json, "write a JSON object");
  schema->excludes(regex)->excludes(grammar)->excludes(json);
  regex->excludes(grammar)->excludes(json);
  grammar->excludes(json);
}

Result<text::Grammar> read_grammar(const GrammarOptions& options) {
  if (options.json) return text::json_object_grammar();
  if (!options.regex.empty()) {
    LAMINA_ASSIGN(text::Automaton automaton, text::compile_regex(options.regex, text::RegexUse::kWhole));
    text::Grammar grammar;
    grammar.root = grammar.declare("root");
    grammar.define(grammar.root, grammar.characters(std::move(automaton), text::Spelling::kPlain));
    return grammar;
  }
  const std::string& file = options.grammar.empty() ? options.json_schema : options.grammar;
  LAMINA_ASSIGN(const std::string source, read_file(file));
  if (!options.grammar.empty()) {
    auto grammar = text::parse_grammar(source);
    if (!grammar) return fail(grammar.error().code, file, "{}", grammar.error().text());
    return grammar;
  }
  const auto schema = nlohmann::ordered_json::parse(source, nullptr, false);
  if (schema.is_discarded()) return fail(ErrorCode::kInvalid, file, "it is no JSON; a JSON schema expected");
  return text::schema_grammar(schema, file);
}

Result<std::shared_ptr<const text::TokenGrammar>> read_token_grammar(const GrammarOptions& options,
                                                                     const text::Tokenizer& tokenizer) {
  if (!options.any()) return nullptr;
  LAMINA_ASSIGN(const text::Grammar grammar, read_grammar(options));
  LAMINA_ASSIGN(text::TokenBytes bytes, text::TokenBytes::create(tokenizer));
  return text::TokenGrammar::create(grammar, std::make_shared<const text::TokenBytes>(std::move(bytes)));
}

}  // namespace lamina::app
