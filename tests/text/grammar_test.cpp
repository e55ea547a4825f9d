// Regular expressions, grammars and their machine, byte by byte.
#include <gtest/gtest.h>

#include "text/grammar_machine.h"
#include "text/regex.h"

namespace lamina::text {
namespace {

bool matches(std::string_view pattern, std::string_view text, RegexUse use = RegexUse::kWhole) {
  const auto automaton = compile_regex(pattern, use);
  EXPECT_TRUE(automaton) << pattern << ": " << (automaton ? "" : automaton.error().text());
  return automaton && automaton->matches(text);
}

bool accepts(const Grammar& grammar, std::string_view text) {
  const auto program = compile_program(grammar);
  EXPECT_TRUE(program) << (program ? "" : program.error().text());
  if (!program) return false;
  GrammarMachine machine(*program);
  const int32_t place = machine.step(machine.begin(), text);
  return place >= 0 && machine.ends(place);
}

bool grammar_accepts(std::string_view source, std::string_view text) {
  const auto grammar = parse_grammar(source);
  EXPECT_TRUE(grammar) << (grammar ? "" : grammar.error().text());
  return grammar && accepts(*grammar, text);
}

TEST(Regex, MatchesWholeTexts) {
  EXPECT_TRUE(matches("a|bc", "bc"));
  EXPECT_FALSE(matches("a|bc", "b"));
  EXPECT_TRUE(matches("[a-c]{2,3}x?", "abx"));
  EXPECT_FALSE(matches("[a-c]{2,3}x?", "abcd"));
  EXPECT_TRUE(matches("(?:ab)+?", "abab"));
  EXPECT_TRUE(matches("(?<year>\\d{4})-\\d\\d", "2024-05"));
  EXPECT_TRUE(matches("\\u00e9\\x41\\u{1F600}", "éA😀"));
  EXPECT_TRUE(matches("[^\\d\\s]+", "aé"));
  EXPECT_FALSE(matches("[^\\d\\s]+", "a b"));
  EXPECT_TRUE(matches("\\p{Lu}\\p{Ll}+", "Éa"));
  EXPECT_FALSE(matches(".", "\n"));
  EXPECT_TRUE(matches("", ""));
  EXPECT_FALSE(matches("[]", ""));
  EXPECT_TRUE(matches("[^]", "\n"));
}

TEST(Regex, SearchesUnlessAnchored) {
  EXPECT_TRUE(matches("b", "abc", RegexUse::kSearch));
  EXPECT_FALSE(matches("^b", "abc", RegexUse::kSearch));
  EXPECT_TRUE(matches("^a|c$", "xc", RegexUse::kSearch));
  EXPECT_FALSE(matches("^a$", "ab", RegexUse::kSearch));
  EXPECT_FALSE(matches("a^b", "ab", RegexUse::kSearch));
  EXPECT_TRUE(matches("^(a|b)*$", "", RegexUse::kSearch));
  EXPECT_TRUE(matches("(^|-)x($|-)", "a-x", RegexUse::kSearch));
}

TEST(Regex, RefusesWithItsPlace) {
  for (const char* pattern : {"(?=a)", "(?!a)", "(?<=a)b", "\\b", "(a)\\1", "(?i)a", "a++", "\\p{Greek}", "\\q"}) {
    const auto result = compile_regex(pattern, RegexUse::kWhole);
    ASSERT_FALSE(result) << pattern;
    EXPECT_EQ(result.error().code, core::ErrorCode::kUnsupported) << pattern;
    EXPECT_NE(result.error().place.find("byte"), std::string::npos);
  }
  for (const char* pattern : {"(", ")", "[a", "*a", "a{2", "a{3,2}", "[z-a]", "a**", "\\", "\\xZZ", "{", "\xff"}) {
    const auto result = compile_regex(pattern, RegexUse::kWhole);
    ASSERT_FALSE(result) << pattern;
    EXPECT_EQ(result.error().code, core::ErrorCode::kInvalid) << pattern;
  }
  EXPECT_EQ(compile_regex("(a{1000}){1000}", RegexUse::kWhole).error().code, core::ErrorCode::kLimit);
  EXPECT_EQ(compile_regex("(a|b)*a(a|b){40}", RegexUse::kWhole).error().code, core::ErrorCode::kLimit);
}

TEST(Automaton, IntersectsAndSubtracts) {
  const Automaton digits = compile_regex("[0-9]{1,3}", RegexUse::kWhole).value();
  const Automaton odd = compile_regex("[0-9]*[13579]", RegexUse::kWhole).value();
  const Automaton both = intersect(digits, odd).value();
  EXPECT_TRUE(both.matches("123"));
  EXPECT_FALSE(both.matches("12"));
  EXPECT_FALSE(both.matches("1231"));
  const Automaton rest = subtract(digits, odd).value();
  EXPECT_TRUE(rest.matches("12"));
  EXPECT_FALSE(rest.matches("123"));
  EXPECT_TRUE(subtract(digits, digits).value().empty());
  const Automaton known = automaton_of(std::vector<std::string>{"ab", "a", "äb"}).value();
  EXPECT_TRUE(known.matches("a"));
  EXPECT_TRUE(known.matches("äb"));
  EXPECT_FALSE(known.matches("b"));
}

TEST(Grammar, ReadsGbnf) {
  const char* source =
      "# a list of numbers\n"
      "root ::= \"[\" (number (\", \" number)*)? \"]\"\n"
      "number ::= [0-9]+ |\n"
      "  \"-\" number  # below zero\n"
      "  | \"\\u00e9\\n\\x41\"";
  EXPECT_TRUE(grammar_accepts(source, "[]"));
  EXPECT_TRUE(grammar_accepts(source, "[1, -23, é\nA]"));
  EXPECT_FALSE(grammar_accepts(source, "[1,2]"));
  EXPECT_FALSE(grammar_accepts(source, "[1"));
}

TEST(Grammar, CountsRounds) {
  const char* source = "root ::= (\"a\" [x-z]{2,3} \".\"){2,4}";
  EXPECT_FALSE(grammar_accepts(source, "axx."));
  EXPECT_TRUE(grammar_accepts(source, "axx.axyz."));
  EXPECT_FALSE(grammar_accepts(source, "axx.ax."));
  EXPECT_FALSE(grammar_accepts(source, "axx.axx.axx.axx.axx."));
  EXPECT_TRUE(grammar_accepts("root ::= (\"a\"?){3,5} \"b\"", "b"));
  EXPECT_TRUE(grammar_accepts("root ::= (\"a\"?){3,5} \"b\"", "aaaaab"));
  EXPECT_FALSE(grammar_accepts("root ::= (\"a\"?){3,5} \"b\"", "aaaaaab"));
  EXPECT_TRUE(grammar_accepts("root ::= [a]{3,} \"b\"", "aaaaaaab"));
  EXPECT_FALSE(grammar_accepts("root ::= [a]{3,} \"b\"", "aab"));
}

TEST(Grammar, Nests) {
  const char* source = "root ::= \"(\" root* \")\" | \"x\"";
  EXPECT_TRUE(grammar_accepts(source, "((x)()x(x))"));
  EXPECT_FALSE(grammar_accepts(source, "((x)"));
  EXPECT_FALSE(grammar_accepts(source, "xx"));
  // All that is open lies on the stack: deeper than this nothing is allowed.
  const auto program = compile_program(parse_grammar(source).value()).value();
  GrammarMachine machine(program);
  EXPECT_GE(machine.step(machine.begin(), std::string(100, '(')), 0);
  EXPECT_LT(machine.step(machine.begin(), std::string(10'000, '(')), 0);
}

TEST(Grammar, ReadsInAllWaysAtOnce) {
  const char* source = "root ::= a \"c\" | b \"d\"\na ::= \"x\" a | \"x\"\nb ::= \"x\" | \"x\" b";
  EXPECT_TRUE(grammar_accepts(source, "xxxc"));
  EXPECT_TRUE(grammar_accepts(source, "xxxd"));
  EXPECT_FALSE(grammar_accepts(source, "xxx"));
}

TEST(Grammar, Refuses) {
  const auto refused = [](std::string_view source) {
    const auto grammar = parse_grammar(source);
    if (!grammar) return grammar.error().text();
    const auto program = compile_program(*grammar);
    return program ? std::string() : program.error().text();
  };
  EXPECT_NE(refused("root ::= other").find("other is used and not defined"), std::string::npos);
  EXPECT_NE(refused("other ::= \"a\"").find("root"), std::string::npos);
  EXPECT_NE(refused("root ::= root \"a\" | \"b\"").find("begins with itself"), std::string::npos);
  EXPECT_NE(refused("root ::= b? root \"a\" | \"c\"\nb ::= \"b\"").find("begins with itself"), std::string::npos);
  EXPECT_NE(refused("root ::= \"a\" root").find("no text"), std::string::npos);
  EXPECT_NE(refused("root ::= \"a").find("line 1"), std::string::npos);
  EXPECT_NE(refused("root ::= \"a\"\n\nroot ::= \"b\"").find("line 3"), std::string::npos);
  EXPECT_NE(refused("root ::= \"a\" )").find("line 1"), std::string::npos);
  EXPECT_NE(refused("root ::= [a-z").find("expected"), std::string::npos);
}

TEST(Machine, ForgetsAndGoesOn) {
  const auto program = compile_program(parse_grammar("root ::= \"(\" root* \")\" | [a-z]{2,4}").value()).value();
  GrammarMachine machine(program);
  const int32_t place = machine.step(machine.begin(), "((ab");
  const int32_t kept = machine.forget_but(place);
  EXPECT_EQ(machine.places(), 1U);
  const int32_t end = machine.step(kept, "cd)(x");
  ASSERT_GE(end, 0);
  EXPECT_FALSE(machine.ends(end));
  EXPECT_LT(machine.step(end, ")"), 0);
  EXPECT_TRUE(machine.ends(machine.step(end, "y))")));
}

}  // namespace
}  // namespace lamina::text
