#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "text/grammar.h"

namespace lamina::text {

/// Adds JSON texts to a grammar: those that a JSON Schema (draft 2020-12; and draft 7 where it means the same) allows.
/// Every text is valid JSON and keeps to the schema. Of the texts that do, those count that have an object's properties
/// in the schema's order with others behind them, and between two tokens nothing, a space, or a line's end with up to
/// 32 spaces; names that the schema gives, enums and texts with a pattern are written with no needless escapes.
class JsonGrammar {
 public:
  using Json = nlohmann::ordered_json;

  explicit JsonGrammar(Grammar& grammar);
  ~JsonGrammar();
  JsonGrammar(const JsonGrammar&) = delete;
  JsonGrammar& operator=(const JsonGrammar&) = delete;

  /// The texts that `schema` allows; it must outlive finish(). Errors have the keyword's place as a JSON pointer,
  /// behind `place`: kInvalid (a wrong value), kUnsupported (a keyword that cannot be kept to), kLimit.
  core::Result<Grammar::Part> add_schema(const Json& schema, const std::string& place);
  /// Any JSON value; any JSON object.
  Grammar::Part any_value();
  Grammar::Part any_object();
  /// Space between two tokens.
  Grammar::Part space();
  /// Defines what was used by the parts so far. Errors as add_schema().
  core::Status finish();

 private:
  class Schemas;
  Grammar& grammar_;
  std::unique_ptr<Schemas> schemas_;
  Grammar::Rule space_ = -1;
  Grammar::Rule value_ = -1;
  Grammar::Rule object_ = -1;
};

/// A grammar of the texts that a schema allows.
core::Result<Grammar> schema_grammar(const nlohmann::ordered_json& schema, const std::string& place);
/// A grammar of all JSON objects.
core::Result<Grammar> json_object_grammar();

/// `text` as a JSON string with no needless escapes.
std::string json_text(const std::string& text);

}  // namespace lamina::text
