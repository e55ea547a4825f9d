// Masks of tokens, against the bytes of every token one by one.
#include "text/token_grammar.h"

#include <gtest/gtest.h>

#include <fstream>
#include <random>

#include "support/source_dir.h"
#include "text/json_schema.h"

namespace lamina::text {
namespace {

using Json = nlohmann::ordered_json;

const char* const kSchema =
    R"({"type": "object", "additionalProperties": false, "required": ["name", "tags"], "properties": {
    "name": {"type": "string", "maxLength": 40}, "age": {"type": "integer", "minimum": 1, "maximum": 150},
    "code": {"type": "string", "pattern": "^[a-c]{2,5}$"}, "tags": {"type": "array", "items": {"enum": ["a", "b", "\n"]}},
    "more": {}}})";

Tokenizer tokenizer_of(const std::string& name) {
  std::ifstream file(source_dir() / "tests/golden/tokenizer" / (name + ".json"));
  auto tokenizer = Tokenizer::from_json(Json::parse(file)["tokenizer"].dump());
  if (!tokenizer) throw std::runtime_error(tokenizer.error().text());
  return std::move(*tokenizer);
}

/// Every byte as a token, some longer ones, some of them equal, and one that ends.
Tokenizer byte_tokenizer() {
  TokenizerData data;
  data.model = "llama";
  const auto add = [&](const std::string& text, TokenType type) {
    data.tokens.push_back(text);
    data.scores.push_back(0);
    data.types.push_back(type);
  };
  add("<unk>", TokenType::kUnknown);
  add("</s>", TokenType::kControl);
  add("[CALL]", TokenType::kControl);
  for (int byte = 0; byte < 256; ++byte) add(fmt::format("<0x{:02X}>", byte), TokenType::kByte);
  for (const char* text : {"\xE2\x96\x81{", "{\"", "\":", "\",\xE2\x96\x81\"", "name", "\xE2\x96\x81",
                           "\xE2\x96\x81\xE2\x96\x81", "a", "b", "é", "\"}", "]}", "[\"", "tags", "1", "12", "150"})
    add(text, TokenType::kNormal);
  data.unknown = 0;
  data.eos = 1;
  data.add_bos = false;
  auto tokenizer = Tokenizer::from_data(std::move(data));
  if (!tokenizer) throw std::runtime_error(tokenizer.error().text());
  return std::move(*tokenizer);
}

std::shared_ptr<const TokenGrammar> grammar_of(const Grammar& grammar, const Tokenizer& tokenizer,
                                               const std::vector<int32_t>& controls = {}) {
  auto bytes = TokenBytes::create(tokenizer);
  if (!bytes) throw std::runtime_error(bytes.error().text());
  auto made = TokenGrammar::create(grammar, std::make_shared<const TokenBytes>(std::move(*bytes)), controls);
  if (!made) throw std::runtime_error(made.error().text());
  return std::move(*made);
}

bool allows(std::span<const uint64_t> mask, int32_t token) {
  return (mask[static_cast<size_t>(token) / 64] >> (token % 64) & 1) != 0;
}

/// Walks at random, and at each place holds the mask against the text that each token would make.
void walk(const Tokenizer& tokenizer, const Grammar& grammar, uint32_t seed, int steps) {
  const auto tokens = grammar_of(grammar, tokenizer);
  const auto program = compile_program(grammar).value();
  std::mt19937 random(seed);
  TokenMatcher matcher(tokens, true);
  GrammarMachine machine(program);
  int32_t place = machine.begin();
  std::string text;
  std::vector<int32_t> ids;
  for (int step = 0; step < steps; ++step) {
    const auto mask = matcher.allowed().value();
    std::vector<int32_t> choices;
    for (int32_t id = 0; id < tokenizer.vocabulary(); ++id) {
      const std::string piece = ids.empty() ? tokenizer.first_piece(id) : tokenizer.piece(id);
      const bool plain = !tokenizer.is_special(id) && tokenizer.type(id) != TokenType::kUnused && !piece.empty();
      const bool right = tokenizer.is_end(id) ? machine.ends(place) : plain && machine.step(place, piece) >= 0;
      ASSERT_EQ(allows(mask, id), right) << "token " << id << " \"" << piece << "\" behind " << text;
      if (right && !tokenizer.is_end(id)) choices.push_back(id);
    }
    if (choices.empty()) break;
    const int32_t chosen = choices[random() % choices.size()];
    text += ids.empty() ? tokenizer.first_piece(chosen) : tokenizer.piece(chosen);
    place = machine.step(place, ids.empty() ? tokenizer.first_piece(chosen) : tokenizer.piece(chosen));
    ids.push_back(chosen);
    ASSERT_TRUE(matcher.accept(chosen));
  }
  if (matcher.complete()) {
    EXPECT_EQ(tokenizer.decode(ids), text);
  }
}

TEST(TokenGrammar, MasksAreThoseOfTheBytes) {
  const Grammar grammar = schema_grammar(Json::parse(kSchema), "").value();
  const Tokenizer bytes = byte_tokenizer();
  for (uint32_t seed = 0; seed < 6; ++seed) walk(bytes, grammar, seed, 60);
  for (const char* name : {"gpt2", "sentencepiece", "metaspace_first"}) walk(tokenizer_of(name), grammar, 1, 12);
}

TEST(TokenGrammar, CountsAreKeptFarFromTheirBounds) {
  const Tokenizer tokenizer = byte_tokenizer();
  for (const char* source : {"root ::= [ab]{30,60} \"12\"", "root ::= ([ab] | \"12\"){25,} \"}\"",
                             "root ::= \"[\\\"\" (\"a\" [b]{0,3}){40,45}"})
    walk(tokenizer, parse_grammar(source).value(), 3, 80);
}

TEST(TokenGrammar, TheFirstTokenMayLoseItsSpace) {
  const Tokenizer tokenizer = byte_tokenizer();
  const auto grammar = grammar_of(parse_grammar("root ::= \"{\" \"a\"").value(), tokenizer);
  const int32_t brace = tokenizer.find("\xE2\x96\x81{").value();
  TokenMatcher begins(grammar, true);
  EXPECT_TRUE(allows(begins.allowed().value(), brace));
  TokenMatcher goes_on(grammar, false);
  EXPECT_FALSE(allows(goes_on.allowed().value(), brace));
  EXPECT_TRUE(begins.accept(brace));
  EXPECT_TRUE(begins.accept(tokenizer.find("a").value()));
  EXPECT_TRUE(begins.finished());
}

TEST(TokenGrammar, EndsOnlyWhenComplete) {
  const Tokenizer tokenizer = byte_tokenizer();
  const auto grammar = grammar_of(parse_grammar("root ::= \"a\"+").value(), tokenizer);
  TokenMatcher matcher(grammar, true);
  TokenMatcher endless(grammar, true, false);
  const int32_t a = tokenizer.find("a").value();
  EXPECT_FALSE(allows(matcher.allowed().value(), tokenizer.eos()));
  EXPECT_FALSE(matcher.accept(tokenizer.eos()));
  ASSERT_TRUE(matcher.accept(a) && endless.accept(a));
  EXPECT_TRUE(allows(matcher.allowed().value(), tokenizer.eos()));
  EXPECT_FALSE(allows(endless.allowed().value(), tokenizer.eos()));
  EXPECT_TRUE(matcher.complete());
  EXPECT_FALSE(matcher.finished());
  EXPECT_FALSE(matcher.accept(tokenizer.find("b").value()));
  EXPECT_FALSE(matcher.allowed());
}

TEST(TokenGrammar, ControlTokensCountWhereTheyAreNamed) {
  const Tokenizer tokenizer = byte_tokenizer();
  const int32_t call = tokenizer.find("[CALL]").value();
  const Grammar grammar = parse_grammar("root ::= \"a\" \"[CALL]\" \"b\"").value();
  for (const bool named : {false, true}) {
    TokenMatcher matcher(grammar_of(grammar, tokenizer, named ? std::vector{call} : std::vector<int32_t>()), true);
    ASSERT_TRUE(matcher.accept(tokenizer.find("a").value()));
    EXPECT_EQ(allows(matcher.allowed().value(), call), named);
    if (!named) continue;
    EXPECT_TRUE(matcher.accept(call));
    EXPECT_TRUE(allows(matcher.allowed().value(), tokenizer.find("b").value()));
  }
}

}  // namespace
}  // namespace lamina::text
