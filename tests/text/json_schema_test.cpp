// JSON schemas as grammars: what is accepted, what is not, what is refused and where.
#include "text/json_schema.h"

#include <gtest/gtest.h>

#include "text/grammar_machine.h"
#include "text/json_number.h"

namespace lamina::text {
namespace {

using Json = nlohmann::ordered_json;

class Schema {
 public:
  explicit Schema(const Json& schema) : name_(schema.dump()) {
    const auto grammar = schema_grammar(schema, "schema");
    EXPECT_TRUE(grammar) << name_ << ": " << (grammar ? "" : grammar.error().text());
    if (!grammar) return;
    auto program = compile_program(*grammar);
    EXPECT_TRUE(program) << name_ << ": " << (program ? "" : program.error().text());
    if (program) program_ = std::move(*program);
  }

  bool accepts(std::string_view text) const {
    if (program_.nodes.empty()) return false;
    GrammarMachine machine(program_);
    const int32_t place = machine.step(machine.begin(), text);
    return place >= 0 && machine.ends(place);
  }
  void expect(std::initializer_list<const char*> good, std::initializer_list<const char*> bad) const {
    for (const char* text : good) EXPECT_TRUE(accepts(text)) << name_ << " must allow " << text;
    for (const char* text : bad) EXPECT_FALSE(accepts(text)) << name_ << " must not allow " << text;
  }

 private:
  std::string name_;
  GrammarProgram program_;
};

void expect(const char* schema, std::initializer_list<const char*> good, std::initializer_list<const char*> bad) {
  Schema(Json::parse(schema)).expect(good, bad);
}

/// The error of a schema that is refused.
core::Error refused(const char* schema) {
  const auto grammar = schema_grammar(Json::parse(schema), "schema");
  if (!grammar) return grammar.error();
  const auto program = compile_program(*grammar);
  EXPECT_FALSE(program) << schema;
  return program ? core::Error{} : program.error();
}

TEST(JsonSchema, AllowsAnyValue) {
  expect("true", {"1", "null", "\"a\"", "[1, {\"a\": []}]", "{}", "{\"a\": 1, \"b\": [true,false]}", "-0.5e10"},
         {"", "1,", "01", "[1", "{\"a\"}", "{a: 1}", "'a'", "1.", ".5", "nul", "[1 2]", "{\"a\": 1,}"});
  EXPECT_EQ(refused("false").code, core::ErrorCode::kInvalid);
}

TEST(JsonSchema, Texts) {
  expect(R"({"type": "string"})", {R"("")", R"("aé😀")", R"("\n\"\\\/\u00e9\uD83D\uDE00")"},
         {"\"\n\"", R"("\x")", R"("\u12")", R"("\uD83D")", R"("\uDE00")", R"("a)", "\"\xff\"", "\"\xed\xa0\x80\""});
  expect(R"({"type": "string", "minLength": 2, "maxLength": 3})", {R"("ab")", R"("é\n😀")", R"("\uD83D\uDE00a")"},
         {R"("a")", R"("abcd")", R"("\uD83D\uDE00")"});
  expect(R"({"type": "string", "pattern": "^[a-z]+\"?$"})", {R"("ab")", R"("a\"")"}, {R"("")", R"("aB")", R"("a"")"});
  expect(R"({"type": "string", "pattern": "b+"})", {R"("b")", R"("abc")"}, {R"("ac")", R"("")"});
  expect(R"({"type": "string", "pattern": "a", "minLength": 3, "maxLength": 4})", {R"("xay")", R"("aaaa")"},
         {R"("a")", R"("xxx")", R"("aaaaa")"});
  expect(R"({"type": "string", "format": "date"})", {R"("2024-02-29")", R"("1999-12-31")"},
         {R"("2023-02-29")", R"("2024-13-01")", R"("2024-04-31")", R"("x2024-02-29")"});
  expect(R"({"type": "string", "format": "date-time"})",
         {R"("2024-02-29T23:59:59.5Z")", R"("2024-01-01T00:00:00+01:00")"},
         {R"("2024-01-01")", R"("2024-01-01T24:00:00Z")"});
  expect(R"({"type": "string", "format": "uuid"})", {R"("123e4567-e89b-12d3-a456-426614174000")"}, {R"("123e4567")"});
  expect(R"({"type": "string", "format": "ipv4"})", {R"("255.0.10.1")"}, {R"("256.0.0.1")", R"("1.2.3")"});
}

TEST(JsonSchema, Numbers) {
  expect(R"({"type": "integer"})", {"0", "-12", "123456789012345678"}, {"1.5", "01", "1e3", "-", "\"1\""});
  expect(R"({"type": "number"})", {"0", "-1.25", "1e10", "2.5E-3"}, {"1.", "+1", "1e999", "NaN"});
  expect(R"({"type": "integer", "minimum": 5, "maximum": 120})", {"5", "9", "10", "99", "120"},
         {"4", "121", "-5", "05", "500"});
  expect(R"({"type": "integer", "minimum": -12, "exclusiveMaximum": 7})", {"-12", "-9", "0", "6", "-1"},
         {"-13", "7", "-20", "10"});
  expect(R"({"type": "integer", "exclusiveMinimum": 0})", {"1", "10", "999"}, {"0", "-1"});
  expect(R"({"type": "integer", "maximum": -3})", {"-3", "-10"}, {"-2", "0", "3"});
  expect(R"({"type": "number", "minimum": 0, "maximum": 1})", {"0", "1", "0.5", "1.0", "0.001"},
         {"1.1", "-0.1", "1.01", "2"});
  expect(R"({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1})", {"0.5", "0.01", "0.999"},
         {"0", "1", "0.0", "1.0"});
  expect(R"({"type": "number", "minimum": -2.5, "maximum": 10.25})",
         {"-2.5", "-2", "-2.49", "10.25", "10.2", "10", "9.99", "0"}, {"-2.51", "-3", "10.26", "10.3", "11"});
  expect(R"({"type": "integer", "multipleOf": 7})", {"0", "7", "-14", "77", "700"}, {"1", "-13", "78"});
  expect(R"({"type": "number", "multipleOf": 10, "minimum": 10})", {"10", "120"}, {"0", "15", "10.5"});
}

TEST(JsonSchema, Objects) {
  const char* person = R"({"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
                           "required": ["name"], "additionalProperties": false})";
  expect(person, {R"({"name":"a"})", R"({"name": "a", "age": 3})", "{\n  \"name\": \"a\",\n  \"age\": 3\n}"},
         {"{}", R"({"age": 3})", R"({"name": 1})", R"({"name": "a", "age": 3, "x": 1})", R"({"name": "a",})",
          R"({"name": "a"} )", R"({"name": "a", "name": "b"})"});
  expect(R"({"properties": {"a": {"type": "integer"}}, "additionalProperties": {"type": "boolean"}})",
         {R"({"a": 1})", R"({"b": true})", R"({"a": 1, "b": true, "ab": false})", R"({"\n": true})", "17", "\"x\""},
         {R"({"a": true})", R"({"b": 1})", R"({"\u0061": true})", R"({"b": true, "a": true})"});
  expect(
      R"({"type": "object", "minProperties": 1, "maxProperties": 2, "properties": {"a": {}, "b": {}, "c": {}}, "additionalProperties": false})",
      {R"({"a":1})", R"({"a":1,"c":2})"}, {"{}", R"({"a":1,"b":1,"c":1})"});
  expect(
      R"({"type": "object", "patternProperties": {"^i_": {"type": "integer"}}, "additionalProperties": {"type": "string"}})",
      {R"({"i_a": 1})", R"({"x": "y", "i_b": 2})", "{}"}, {R"({"i_a": "x"})", R"({"x": 1})"});
  expect(R"({"type": "object", "propertyNames": {"pattern": "^[a-z]+$"}})", {R"({"ab": 1})", "{}"},
         {R"({"A": 1})", R"({"": 1})"});
  expect(R"({"type": "object", "required": ["x"]})", {R"({"x": null})", R"({"x": 1, "y": 2})"}, {"{}", R"({"y": 1})"});
}

TEST(JsonSchema, Lists) {
  expect(R"({"type": "array", "items": {"type": "integer"}})", {"[]", "[1]", "[1, 2,3]", "[\n1\n]"},
         {"[1,]", "[\"a\"]", "[1 2]"});
  expect(R"({"type": "array", "items": {"enum": [1]}, "minItems": 2, "maxItems": 3})", {"[1,1]", "[1, 1, 1]"},
         {"[]", "[1]", "[1,1,1,1]"});
  expect(R"({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": false})",
         {"[]", "[1]", "[1, \"a\"]"}, {"[\"a\"]", "[1, 2]", "[1, \"a\", 1]"});
  expect(
      R"({"type": "array", "prefixItems": [{"type": "integer"}], "items": {"type": "null"}, "minItems": 2, "maxItems": 3})",
      {"[1, null]", "[1,null,null]"}, {"[1]", "[null, null]", "[1,null,null,null]"});
  expect(R"({"type": "array", "maxItems": 0})", {"[]"}, {"[1]"});
}

TEST(JsonSchema, EnumsAndConstants) {
  expect(R"({"enum": ["a\"b", 1, 2.5, null, {"k": [1, true]}, []]})",
         {R"("a\"b")", "1", "2.5", "null", R"({"k": [1, true]})", R"({"k":[1,true]})", "[]"},
         {"2", "\"a\"", "[1]", "{}"});
  expect(R"({"type": "string", "enum": ["a", 1]})", {"\"a\""}, {"1"});
  expect(R"({"const": "x"})", {"\"x\""}, {"\"y\""});
}

TEST(JsonSchema, Combines) {
  expect(R"({"anyOf": [{"type": "integer"}, {"type": "string", "maxLength": 1}]})", {"1", "\"a\""}, {"\"ab\"", "null"});
  expect(R"({"allOf": [{"type": "integer"}, {"minimum": 3}, {"maximum": 5}]})", {"3", "5"}, {"2", "6", "\"a\""});
  expect(R"({"type": ["string", "null"]})", {"null", "\"\""}, {"1"});
  expect(
      R"({"oneOf": [{"properties": {"kind": {"const": "a"}, "x": {"type": "integer"}}, "required": ["kind", "x"], "type": "object"},
                        {"properties": {"kind": {"const": "b"}}, "required": ["kind"], "type": "object"}]})",
      {R"({"kind": "a", "x": 1})", R"({"kind": "b"})", R"({"kind": "b", "x": "y"})"},
      {R"({"kind": "a"})", R"({"kind": "c"})"});
  expect(R"({"oneOf": [{"type": "integer"}, {"type": "string"}]})", {"1", "\"a\""}, {"null"});
  expect(
      R"({"allOf": [{"properties": {"a": {"type": "integer"}}}, {"properties": {"a": {"minimum": 3}}, "required": ["a"]}], "type": "object"})",
      {R"({"a": 3})"}, {R"({"a": 2})", R"({"a": "x"})", "{}"});
}

TEST(JsonSchema, RefersToItself) {
  const char* tree =
      R"({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "properties": {"value": {"type": "integer"},
      "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}}, "required": ["value"], "additionalProperties": false}}})";
  expect(tree, {R"({"value": 1})", R"({"value": 1, "children": [{"value": 2, "children": []}, {"value": 3}]})"},
         {R"({"value": 1, "children": [{}]})", R"({"children": []})"});
  expect(R"({"anyOf": [{"type": "null"}, {"type": "array", "items": {"$ref": "#"}}]})", {"null", "[null,[[],null]]"},
         {"[1]"});
  expect(R"({"$ref": "#/definitions/a~1b%20c", "definitions": {"a/b c": {"type": "null"}}})", {"null"}, {"1"});
  // No value can be finite.
  EXPECT_EQ(refused(R"({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]})").code,
            core::ErrorCode::kInvalid);
}

TEST(JsonSchema, RefusesWithItsPlace) {
  const auto place = [](const char* schema) { return refused(schema).place; };
  EXPECT_EQ(place(R"({"properties": {"a/b": {"not": {}}}})"), "schema#/properties/a~1b/not");
  EXPECT_EQ(place(R"({"items": {"type": "array", "uniqueItems": true}})"), "schema#/items/uniqueItems");
  EXPECT_EQ(place(R"({"anyOf": [{"type": "null"}, {"typo": 1}]})"), "schema#/anyOf/1/typo");
  EXPECT_EQ(place(R"x({"type": "string", "pattern": "(?=a)"})x"), "schema#/pattern");
  EXPECT_EQ(place(R"({"type": "text"})"), "schema#/type");
  EXPECT_EQ(place(R"({"type": "string", "format": "phone"})"), "schema#/format");
  EXPECT_EQ(place(R"({"minLength": -1})"), "schema#/minLength");
  EXPECT_EQ(place(R"({"type": "number", "minimum": 0, "exclusiveMaximum": 1e60})"), "schema#/exclusiveMaximum");
  EXPECT_EQ(place(R"({"type": "number", "minimum": -1e60, "maximum": 1})"), "schema#/minimum");
  EXPECT_EQ(place(R"({"$ref": "http://example.com/x"})"), "schema#/$ref");
  EXPECT_EQ(place(R"({"$ref": "#/$defs/none"})"), "schema#/$ref");
  EXPECT_EQ(place(R"({"$ref": "#/$defs/a", "$defs": {"a": {"if": {}}}})"), "schema#/$defs/a/if");
  EXPECT_EQ(place(R"({"oneOf": [{"type": "integer"}, {"type": "number"}]})"), "schema#/oneOf");
  EXPECT_EQ(place(R"({"type": "number", "multipleOf": 0.1})"), "schema#/multipleOf");
  EXPECT_EQ(place(R"({"enum": ["a"], "minLength": 1})"), "schema#/minLength");
  EXPECT_EQ(place(R"({"type": "object", "minProperties": 2})"), "schema#/minProperties");
  EXPECT_EQ(refused(R"({"type": "string", "minLength": 3, "maxLength": 2})").code, core::ErrorCode::kInvalid);
  EXPECT_EQ(refused(R"({"allOf": [{"type": "string"}, {"type": "null"}]})").code, core::ErrorCode::kInvalid);
}

/// Bounds against the numbers themselves.
TEST(JsonSchema, BoundsAreExact) {
  for (const double low : {-12.5, -10.0, -1.0, -0.25, 0.0, 0.1, 3.0, 9.75}) {
    for (const double width : {0.0, 0.25, 1.0, 10.5, 100.0}) {
      const double high = low + width;
      const auto automaton =
          number_automaton({.least = NumberBound{Json(low).dump()}, .most = NumberBound{Json(high).dump()}});
      ASSERT_TRUE(automaton) << automaton.error().text();
      for (int i = -1400; i <= 12'000; i += 5) {
        const double value = i / 100.0;
        const std::string text = fmt::format("{:.2f}", value);
        EXPECT_EQ(automaton->matches(text), value >= low && value <= high) << text << " in " << low << " to " << high;
      }
    }
  }
}

}  // namespace
}  // namespace lamina::text
