#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "text/json_schema.h"
#include "text/regex.h"
#include "text/token_grammar.h"

namespace {

using namespace lamina::text;

/// All bytes, and tokens that reach over the borders of values.
const Tokenizer& tokenizer() {
  static const Tokenizer made = [] {
    TokenizerData data;
    data.model = "llama";
    const auto add = [&](std::string text, TokenType type) {
      data.tokens.push_back(std::move(text));
      data.scores.push_back(0);
      data.types.push_back(type);
    };
    add("<unk>", TokenType::kUnknown);
    add("</s>", TokenType::kControl);
    for (int byte = 0; byte < 256; ++byte) add(fmt::format("<0x{:02X}>", byte), TokenType::kByte);
    for (const char* text : {"{\"", "\":", "\",", "\"}", "]}", "[[", "null", "true", "12", "é", "ab", "\\u00"})
      add(text, TokenType::kNormal);
    data.unknown = 0;
    data.eos = 1;
    data.add_bos = false;
    return std::move(*Tokenizer::from_data(std::move(data)));
  }();
  return made;
}

const std::shared_ptr<const TokenBytes>& bytes() {
  static const auto made = std::make_shared<const TokenBytes>(std::move(*TokenBytes::create(tokenizer())));
  return made;
}

lamina::core::Result<Grammar> read(char kind, std::string_view source, bool& json) {
  if (kind == 'g') return parse_grammar(source);
  if (kind == 'r' || kind == 's') {
    LAMINA_ASSIGN(Automaton automaton, compile_regex(source, kind == 'r' ? RegexUse::kWhole : RegexUse::kSearch));
    Grammar grammar;
    grammar.root = grammar.declare("root");
    grammar.define(grammar.root, grammar.characters(std::move(automaton), Spelling::kPlain));
    return grammar;
  }
  const auto schema = nlohmann::ordered_json::parse(source, nullptr, false);
  if (schema.is_discarded()) return lamina::core::fail(lamina::core::ErrorCode::kInvalid, "", "no JSON");
  json = true;
  return schema_grammar(schema, "");
}

/// Writes as the choices say; whatever is complete must parse.
void write(const std::shared_ptr<const TokenGrammar>& grammar, std::string_view choices, bool json) {
  TokenMatcher matcher(grammar, true);
  std::string text;
  for (const char choice : choices) {
    const auto allowed = matcher.allowed();
    if (!allowed) return;
    std::vector<int32_t> tokens;
    for (int32_t token = 0; token < tokenizer().vocabulary(); ++token) {
      if (((*allowed)[static_cast<size_t>(token) / 64] >> (token % 64) & 1) != 0) tokens.push_back(token);
    }
    if (tokens.empty()) return;
    const int32_t token = tokens[static_cast<uint8_t>(choice) % tokens.size()];
    if (!matcher.accept(token)) std::abort();
    if (tokenizer().is_end(token)) break;
    text += text.empty() ? tokenizer().first_piece(token) : tokenizer().piece(token);
    if (json && matcher.complete() && !nlohmann::json::accept(text)) std::abort();
    if (matcher.finished()) break;
  }
}

}  // namespace

// Input: j, g, r or s; a schema, a grammar or an expression; a zero byte; choices of tokens.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2 || size > 4096) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t zero = std::min(input.find('\0'), input.size());
  bool json = false;
  const auto grammar = read(input[0], input.substr(1, zero > 0 ? zero - 1 : 0), json);
  if (!grammar) return 0;
  const auto tokens = TokenGrammar::create(*grammar, bytes());
  if (tokens) write(*tokens, zero < input.size() ? input.substr(zero + 1) : "ab\"}]c{", json);
  return 0;
}
