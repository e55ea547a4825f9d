#include "text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "support/source_dir.h"
#include "text/base64.h"
#include "text/utf8.h"

namespace lamina::text {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

json read_golden(const std::string& name) {
  std::ifstream file(source_dir() / "tests/golden/tokenizer" / (name + ".json"));
  return json::parse(file);
}

std::string error_of(const core::Result<Tokenizer>& result) {
  return result ? "no error" : result.error().text();
}

/// A byte-level vocabulary of "h", "e", "l", "o", "Ġ", some unions, and a control token.
TokenizerData small_data() {
  TokenizerData data;
  data.model = "gpt2";
  data.pre = "gpt-2";
  data.tokens = {"h", "e", "l", "o", "Ġ", "he", "ll", "hell", "Ġh", "<|eot_id|>", "<tool>"};
  data.types.assign(data.tokens.size(), TokenType::kNormal);
  data.types[9] = TokenType::kControl;
  data.types[10] = TokenType::kUserDefined;
  data.merges = {"h e", "l l", "he ll", "Ġ h"};
  data.bos = 9;
  return data;
}

// Expected ids come from the `tokenizers` Python package (tools/tokenizer_parity.py golden).
class Golden : public ::testing::TestWithParam<const char*> {};

TEST_P(Golden, GivesTheIdsAndTextsOfTheReference) {
  const json texts = read_golden("texts");
  const json golden = read_golden(GetParam());
  const auto tokenizer = Tokenizer::from_json(golden["tokenizer"].dump());
  ASSERT_TRUE(tokenizer) << error_of(tokenizer);
  ASSERT_EQ(golden["cases"].size(), texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    const auto text = texts[i].get<std::string>();
    const json& expected = golden["cases"][i];
    const auto ids = tokenizer->encode(text, {.add_special = true, .parse_special = true});
    const auto plain = tokenizer->encode(text, {.add_special = false, .parse_special = false});
    ASSERT_TRUE(ids) << ids.error().text();
    ASSERT_TRUE(plain) << plain.error().text();
    EXPECT_EQ(*ids, expected[0].get<std::vector<int32_t>>()) << texts[i];
    EXPECT_EQ(*plain, expected[1].get<std::vector<int32_t>>()) << texts[i];
    EXPECT_EQ(tokenizer->decode(*plain, true), expected[2].get<std::string>()) << texts[i];
  }
}

INSTANTIATE_TEST_SUITE_P(Tokenizers, Golden,
                         ::testing::Values("gpt2", "digits_nfc", "split_regex", "nested_split", "sentencepiece",
                                           "metaspace_first", "suffix_bpe", "bert_uncased", "bert_cased", "unigram_nmt",
                                           "unigram_charsmap", "word_level"),
                         [](const auto& info) { return std::string(info.param); });

TEST(Tokenizer, TellsTruncationAndPaddingButAppliesNeither) {
  const auto tokenizer = Tokenizer::from_json(read_golden("bert_uncased")["tokenizer"].dump());
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ(tokenizer->lengths().truncate_to, 7);
  EXPECT_TRUE(tokenizer->lengths().pads);
  EXPECT_EQ(tokenizer->lengths().pad_to, 9);
  EXPECT_EQ(tokenizer->encode("a")->size(), 3U);
  EXPECT_GT(tokenizer->encode("the quick brown fox jumps over a lazy dog")->size(), 9U);
}

TEST(Tokenizer, GivesTheSameIdsFromMetadataAndFromJson) {
  const json texts = read_golden("texts");
  const json spec = read_golden("digits_nfc")["tokenizer"];
  const auto from_json = Tokenizer::from_json(spec.dump());
  TokenizerData data;
  data.model = "gpt2";
  data.pre = "smollm";
  data.tokens.resize(spec["model"]["vocab"].size());
  for (const auto& [text, id] : spec["model"]["vocab"].items()) data.tokens[id.get<size_t>()] = text;
  data.types.assign(data.tokens.size(), TokenType::kNormal);
  for (const json& token : spec["added_tokens"]) data.types[token["id"].get<size_t>()] = TokenType::kControl;
  for (const json& merge : spec["model"]["merges"]) {
    data.merges.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
  }
  const auto from_data = Tokenizer::from_data(std::move(data));
  ASSERT_TRUE(from_json && from_data) << error_of(from_data);
  for (const json& text : texts) {
    // The metadata's pre-tokenizer has no NFC step.
    if (text.dump(-1, ' ', true).find("\\u") != std::string::npos) continue;
    EXPECT_EQ(*from_json->encode(text.get<std::string>()), *from_data->encode(text.get<std::string>())) << text;
  }
}

TEST(Tokenizer, MergesByRankAndKeepsControlTokensOutOfText) {
  const auto tokenizer = Tokenizer::from_data(small_data());
  ASSERT_TRUE(tokenizer) << error_of(tokenizer);
  EXPECT_THAT(*tokenizer->encode("hello hello"), ElementsAre(7, 3, 4, 7, 3));
  EXPECT_THAT(*tokenizer->encode("he<|eot_id|>", {.add_special = false, .parse_special = true}), ElementsAre(5, 9));
  EXPECT_THAT(*tokenizer->encode("he<tool>"), ElementsAre(5, 10));
  const auto plain = tokenizer->encode("<|eot_id|>");
  EXPECT_THAT(*plain, ::testing::Not(::testing::Contains(9)));
  EXPECT_TRUE(tokenizer->is_end(9));
  EXPECT_TRUE(tokenizer->is_special(9));
  EXPECT_FALSE(tokenizer->is_special(10));
  EXPECT_EQ(tokenizer->find("hell"), 7);
  EXPECT_EQ(tokenizer->find("none"), std::nullopt);
  EXPECT_EQ(tokenizer->piece(8), " h");
  EXPECT_EQ(tokenizer->piece(9), "<|eot_id|>");
  EXPECT_EQ(tokenizer->piece(-1), "");
  EXPECT_EQ(tokenizer->piece(11), "");
}

TEST(Tokenizer, KeepsControlPiecesOfUnigramOutOfText) {
  json spec = read_golden("unigram_nmt")["tokenizer"];
  for (json& piece : spec["model"]["vocab"]) {
    if (piece[0] == "<s>") piece[1] = 0.0;
  }
  const auto tokenizer = Tokenizer::from_json(spec.dump());
  ASSERT_TRUE(tokenizer) << error_of(tokenizer);
  const int32_t id = tokenizer->find("<s>").value();
  const auto plain = tokenizer->encode("a <s> b");
  const auto parsed = tokenizer->encode("a <s> b", {.add_special = false, .parse_special = true});
  EXPECT_THAT(*plain, ::testing::Not(::testing::Contains(id)));
  EXPECT_THAT(*parsed, ::testing::Contains(id));
}

// Ids and text are those of the `tokenizers` package with the same pieces, byte_fallback and Metaspace.
TEST(Tokenizer, ReadsUnigramMetadataWithByteTokens) {
  TokenizerData data;
  data.model = "t5";
  data.tokens = {"<unk>", "\u2581a", "\u2581b", "c", "<0xC3>", "<0xA9>"};
  data.scores = {-20.0F, -1.0F, -1.0F, -1.0F, -9.0F, -9.0F};
  data.types.assign(data.tokens.size(), TokenType::kNormal);
  data.types[0] = TokenType::kUnknown;
  data.types[4] = data.types[5] = TokenType::kByte;
  data.unknown = 0;
  data.add_eos = false;
  const auto tokenizer = Tokenizer::from_data(std::move(data));
  ASSERT_TRUE(tokenizer) << error_of(tokenizer);
  EXPECT_THAT(*tokenizer->encode("a b\u00E9c ?"), ElementsAre(1, 2, 4, 5, 3, 0));
  EXPECT_EQ(tokenizer->decode(std::vector<int32_t>{1, 2, 4, 5, 3}), "a b\u00E9c");
}

TEST(Tokenizer, GivesControlTokensThatTheCharacterMapMakesOnlyWhenAsked) {
  std::ifstream file(source_dir() / "tests/golden/tokenizer/components.json");
  const json rows = json::parse(file)["encode"];
  const auto row = std::ranges::find(rows, "normalizer Precompiled", [](const json& r) { return r["name"]; });
  ASSERT_NE(row, rows.end());
  const auto map = decode_base64((*row)["parts"]["normalizer"]["precompiled_charsmap"].get<std::string>());
  ASSERT_TRUE(map);
  TokenizerData data;
  data.model = "t5";
  data.tokens = {"<unk>", "<kg>", "\u2581", "k", "g", "<", ">"};
  data.scores = {0.0F, 0.0F, -1.0F, -1.0F, -1.0F, -1.0F, -1.0F};
  data.types.assign(data.tokens.size(), TokenType::kNormal);
  data.types[0] = TokenType::kUnknown;
  data.types[1] = TokenType::kControl;
  data.unknown = 0;
  data.add_eos = false;
  data.precompiled_charsmap.assign(map->begin(), map->end());
  const auto tokenizer = Tokenizer::from_data(std::move(data));
  ASSERT_TRUE(tokenizer) << error_of(tokenizer);
  EXPECT_THAT(*tokenizer->encode("k<\u338F>"), ElementsAre(2, 3, 5, 3, 4, 6));
  EXPECT_THAT(*tokenizer->encode("k<\u338F>", {.parse_special = true}), ElementsAre(2, 3, 1));
}

TEST(Tokenizer, RefusesDamagedMetadataByName) {
  const auto refused = [](auto change) {
    TokenizerData data = small_data();
    change(data);
    return error_of(Tokenizer::from_data(std::move(data)));
  };
  EXPECT_THAT(refused([](auto& d) { d.merges.push_back("h zz"); }), HasSubstr("merge 4 is \"h zz\""));
  EXPECT_THAT(refused([](auto& d) { d.merges.push_back("hello"); }), HasSubstr("two tokens expected"));
  EXPECT_THAT(refused([](auto& d) { d.tokens[1] = "h"; }), HasSubstr("\"h\" is both token 0 and token 1"));
  EXPECT_THAT(refused([](auto& d) { d.tokens[1] = "\xFF"; }), HasSubstr("token 1 is not valid UTF-8"));
  EXPECT_THAT(refused([](auto& d) { d.types.pop_back(); }), HasSubstr("10 entries for 11 tokens"));
  EXPECT_THAT(refused([](auto& d) { d.scores = {1.0F}; }), HasSubstr("1 entries for 11 tokens"));
  EXPECT_THAT(refused([](auto& d) { d.bos = 11; }), HasSubstr("bos token id 11"));
  EXPECT_THAT(refused([](auto& d) { d.pre = "surprise"; }), HasSubstr("unknown pre-tokenizer \"surprise\""));
  EXPECT_THAT(refused([](auto& d) { d.model = "rwkv9"; }), HasSubstr("unknown tokenizer model \"rwkv9\""));
  EXPECT_THAT(refused([](auto& d) { d.tokens.clear(); }), HasSubstr("0 tokens"));
  EXPECT_THAT(refused([](auto& d) { d.model = "llama"; }), HasSubstr("scores"));
  EXPECT_THAT(refused([](auto& d) {
                d.add_bos = true;
                d.bos = -1;
              }),
              HasSubstr("bos_token_id"));
}

TEST(Tokenizer, RefusesDamagedJsonByName) {
  const json good = read_golden("split_regex")["tokenizer"];
  const auto refused = [&](auto change) {
    json spec = good;
    change(spec);
    return error_of(Tokenizer::from_json(spec.dump()));
  };
  EXPECT_THAT(error_of(Tokenizer::from_json("{")), HasSubstr("not JSON from byte"));
  EXPECT_THAT(error_of(Tokenizer::from_json("{}")), HasSubstr("no \"model\""));
  EXPECT_THAT(refused([](json& s) { s["model"]["type"] = "Oracle"; }), HasSubstr("\"Oracle\""));
  EXPECT_THAT(refused([](json& s) { s["normalizer"] = {{"type", "Rot13"}}; }),
              HasSubstr("normalizer: unknown type \"Rot13\""));
  EXPECT_THAT(refused([](json& s) { s["pre_tokenizer"] = {{"type", "X"}}; }), HasSubstr("pre_tokenizer: unknown type"));
  EXPECT_THAT(refused([](json& s) { s["post_processor"] = {{"type", "X"}}; }),
              HasSubstr("post_processor: unknown type"));
  EXPECT_THAT(refused([](json& s) { s["decoder"] = {{"type", "X"}}; }), HasSubstr("decoder: unknown type"));
  EXPECT_THAT(refused([](json& s) { s["model"]["merges"][2][0] = "QQ"; }), HasSubstr("merge 2 needs \"QQ\""));
  EXPECT_THAT(refused([](json& s) { s["model"]["vocab"]["new"] = 5; }), HasSubstr("id 5 is both"));
  EXPECT_THAT(refused([](json& s) { s["model"]["vocab"]["new"] = -5; }), HasSubstr("id of \"new\""));
  EXPECT_THAT(refused([](json& s) { s["model"]["vocab"]["new"] = 16'000'000; }), HasSubstr("id 16000000"));
  EXPECT_THAT(refused([](json& s) { s["model"]["dropout"] = 0.5; }), HasSubstr("dropout"));
  EXPECT_THAT(refused([](json& s) { s["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "(a"; }),
              HasSubstr("cannot be compiled"));
  EXPECT_THAT(refused([](json& s) { s["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "a{2}+"; }),
              HasSubstr("not supported"));
}

TEST(Tokenizer, RefusesJsonThatSaysTwoThingsOrIsTooDeep) {
  const auto refused = [](const std::string& text) { return error_of(Tokenizer::from_json(text)); };
  const std::string model = R"("model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": )";
  EXPECT_THAT(refused("{" + model + R"([]}, "model": {}})"), HasSubstr("\"model\" occurs twice"));
  EXPECT_THAT(refused(R"({"model": {"type": "BPE", "vocab": {"a": 0, "a": 1}, "merges": []}})"),
              HasSubstr("token \"a\" occurs twice"));
  EXPECT_THAT(refused("{" + model + R"(["a b c"]}})"), HasSubstr("merge 0 is \"a b c\"; two tokens expected"));
  EXPECT_THAT(refused("{" + model + R"([["a", "b"], ["a"]]}})"), HasSubstr("merge 1 is a list of less than two"));
  EXPECT_THAT(refused("{" + model + R"([["a", "b"], ["a", "b", "a"]]}})"), HasSubstr("merge 1"));
  EXPECT_THAT(refused("{" + model + R"([["a", "b"]]}})"), HasSubstr("merge 0 needs \"ab\""));
  EXPECT_THAT(refused("{" + model + R"([7]}})"), HasSubstr("merge 0 is 7"));
  EXPECT_THAT(refused(R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1.5}, "merges": []}})"),
              HasSubstr("the id of \"b\" is 1.5"));
  EXPECT_THAT(refused(R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": {}}, "merges": []}})"),
              HasSubstr("the id of \"b\""));
  EXPECT_THAT(refused("{\"a\": 1, }"), HasSubstr("is not JSON from byte"));
  const std::string deep(100'000, '[');
  EXPECT_THAT(refused(deep), HasSubstr("nested deeper than 64"));
  EXPECT_THAT(refused("{\"normalizer\": " + deep), HasSubstr("nested deeper than 64"));
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  EXPECT_THAT(refused(objects), HasSubstr("nested deeper than 64"));
}

TEST(Tokenizer, JoinsEqualNeighboursOfTemporalClassification) {
  const json spec = {
      {"model",
       {{"type", "WordLevel"}, {"vocab", {{"<pad>", 0}, {"|", 1}, {"h", 2}, {"i", 3}}}, {"unk_token", "<pad>"}}},
      {"decoder", {{"type", "CTC"}, {"pad_token", "<pad>"}, {"word_delimiter_token", "|"}, {"cleanup", true}}}};
  const auto tokenizer = Tokenizer::from_json(spec.dump());
  ASSERT_TRUE(tokenizer) << error_of(tokenizer);
  const std::vector<int32_t> ids = {2, 2, 0, 2, 3, 3, 1, 1, 3, 0, 3};
  EXPECT_EQ(tokenizer->decode(ids, false), "hhi ii");
}

// Expected cuts are what Split(Regex(...), "isolated") of the `tokenizers` package gives (Unicode 16).
TEST(Tokenizer, CountsTheLettersAndNumbersOfTheReferencesUnicode) {
  const auto words = [](const std::string& pattern, const std::string& text) {
    json spec = read_golden("digits_nfc")["tokenizer"];
    spec["pre_tokenizer"] = {{"type", "Sequence"},
                             {"pretokenizers",
                              {{{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}},
                               {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"use_regex", false}}}}};
    const auto tokenizer = Tokenizer::from_json(spec.dump());
    if (!tokenizer) return error_of(tokenizer);
    return tokenizer->decode(*tokenizer->encode(text, {.add_special = false}));
  };
  EXPECT_EQ(words(R"(\p{L}+)", "!\u1C89\U000105C0!"), " ! \u1C89\U000105C0 !");
  EXPECT_EQ(words(R"(\p{N})", "a\U00010D40\U00010D41"), " a \U00010D40 \U00010D41");
  EXPECT_EQ(words(R"([^\p{L}]+)", "a!\u1C89"), " a ! \u1C89");
  EXPECT_EQ(words(R"([\P{L}]+)", "a!\u1C89"), " a ! \u1C89");
  EXPECT_EQ(words(R"([\P{L}x]+)", "a!x\u1C89"), " a !x \u1C89");
  EXPECT_EQ(words(R"(\P{L}+)", "a!\u1C89"), " a ! \u1C89");
  EXPECT_EQ(words(R"(\p{Cn})", "a\u1C89\u0378"), " a\u1C89 \u0378");
  EXPECT_EQ(words(R"(\w+)", "!\u1C89a!"), " ! \u1C89a !");
  EXPECT_EQ(words(R"([\W]+)", "!\u1C89a!"), " ! \u1C89a !");
  EXPECT_EQ(words(R"(\p{Han}+)", "a\u3001\u6F22"), " a\u3001 \u6F22");
}

TEST(Tokenizer, StopsAtHostilePatterns) {
  json spec = read_golden("split_regex")["tokenizer"];
  spec["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "(?:a+a+)+[xy]";
  const auto tokenizer = Tokenizer::from_json(spec.dump());
  ASSERT_TRUE(tokenizer) << error_of(tokenizer);
  const auto ids = tokenizer->encode(std::string(60, 'a') + "z");
  ASSERT_FALSE(ids);
  EXPECT_EQ(ids.error().code, core::ErrorCode::kLimit);
}

TEST(Tokenizer, ReplacesEachMaximalInvalidPart) {
  const auto tokenizer = Tokenizer::from_json(read_golden("digits_nfc")["tokenizer"].dump());
  ASSERT_TRUE(tokenizer);
  // bytes.decode(errors="replace") of each in Python.
  const std::pair<std::string, std::string> cases[] = {
      {"a\xFF"
       "b",
       "a\uFFFDb"},
      {"\xE4\xBD", "\uFFFD"},
      {"\xE4\xBD"
       "x",
       "\uFFFDx"},
      {"\xF0\x9F\x98", "\uFFFD"},
      {"\xC0\x80", "\uFFFD\uFFFD"},
      {"\xED\xA0\x80", "\uFFFD\uFFFD\uFFFD"},
      {"\xF4\x90\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"},
      {"\xE2\x82\xE2\x82\xAC", "\uFFFD\u20AC"},
  };
  for (const auto& [broken, repaired] : cases) {
    EXPECT_EQ(*tokenizer->encode(broken), *tokenizer->encode(repaired));
    EXPECT_EQ(tokenizer->decode(*tokenizer->encode(broken)), repaired);
  }
}

TEST(Tokenizer, TakesLongWordsInGoodTime) {
  const auto tokenizer = Tokenizer::from_json(read_golden("gpt2")["tokenizer"].dump());
  ASSERT_TRUE(tokenizer);
  std::string word;
  for (size_t i = 0; i < 1'000'000; ++i) word.push_back(static_cast<char>('a' + (i * 7919 % 1009) % 26));
  // A quadratic merge would take hours here; the suite's time limit is the assertion.
  const auto ids = tokenizer->encode(word, {.add_special = false});
  ASSERT_TRUE(ids);
  EXPECT_EQ(tokenizer->decode(*ids), " " + word);
  EXPECT_EQ(tokenizer->decode(*tokenizer->encode(std::string(1'000'000, ' '))), std::string(1'000'000, ' '));
}

TEST(StreamDecoder, NeverEmitsHalfACharacter) {
  const auto tokenizer = Tokenizer::from_json(read_golden("gpt2")["tokenizer"].dump());
  ASSERT_TRUE(tokenizer);
  const std::string text = " 👩‍👩‍👧‍👦 漢字 naïve";
  const auto ids = tokenizer->encode(text, {.add_special = false});
  ASSERT_TRUE(ids);
  StreamDecoder stream(*tokenizer);
  std::string all;
  size_t silent = 0;
  for (const int32_t id : *ids) {
    const std::string part = stream.push(id);
    EXPECT_EQ(valid_prefix(part), part.size());
    silent += part.empty() ? 1 : 0;
    all += part;
  }
  EXPECT_GT(silent, 0U);
  EXPECT_EQ(all + stream.finish(), text);
  // Cut inside a character: the rest is one replacement character, and the decoder starts anew.
  stream.push(tokenizer->find("\u00E6").value());  // the token of byte 0xE6
  EXPECT_EQ(stream.finish(), "\uFFFD");
  EXPECT_EQ(stream.finish(), "");
}

}  // namespace
}  // namespace lamina::text
