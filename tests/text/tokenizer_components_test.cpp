#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "support/source_dir.h"
#include "text/tokenizer.h"

// tests/golden/tokenizer/components.json holds each component of tokenizer.json with each of its settings, and what the
// `tokenizers` package makes of hard strings with it (tools/tokenizer_components.py).
namespace lamina::text {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

const json& golden() {
  static const json value = [] {
    std::ifstream file(source_dir() / "tests/golden/tokenizer/components.json");
    return json::parse(file);
  }();
  return value;
}

std::vector<size_t> rows_of(const char* list) {
  std::vector<size_t> out(golden()[list].size());
  for (size_t i = 0; i < out.size(); ++i) out[i] = i;
  return out;
}

std::string name_of(const json& row) {
  std::string name = row["name"];
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  }
  return name;
}

json spec_of(const char* base, const json& parts) {
  json spec = golden()[base];
  spec.update(parts);
  return spec;
}

std::string error_of(const json& spec) {
  const auto result = Tokenizer::from_json(spec.dump());
  return result ? "no error" : result.error().text();
}

/// The error of a tokenizer whose members are replaced by `parts`.
std::string refused(const json& parts) {
  return error_of(spec_of("base", parts));
}

class Component : public ::testing::TestWithParam<size_t> {};

TEST_P(Component, GivesTheIdsOfTheReference) {
  const json& row = golden()["encode"][GetParam()];
  const auto tokenizer = Tokenizer::from_json(spec_of("base", row["parts"]).dump());
  ASSERT_TRUE(tokenizer) << tokenizer.error().text();
  for (size_t i = 0; i < golden()["texts"].size(); ++i) {
    const json& text = golden()["texts"][i];
    const auto ids = tokenizer->encode(text.get<std::string>(), {.add_special = true, .parse_special = true});
    ASSERT_TRUE(ids) << text << ": " << ids.error().text();
    EXPECT_EQ(*ids, row["ids"][i].get<std::vector<int32_t>>()) << text;
  }
}

// A rule of the engine, not of the reference: text alone never becomes a control token, however it is normalized.
TEST(Components, KeepControlTokensOutOfTextUnlessAskedTo) {
  int arisen = 0;
  for (const json& row : golden()["encode"]) {
    const auto tokenizer = Tokenizer::from_json(spec_of("base", row["parts"]).dump());
    const auto fresh = Tokenizer::from_json(spec_of("base", row["parts"]).dump());
    ASSERT_TRUE(tokenizer && fresh) << tokenizer.error().text();
    for (const json& text : golden()["texts"]) {
      // Parsed ones first: what is remembered of them must not come back.
      const auto parsed = tokenizer->encode(text.get<std::string>(), {.add_special = false, .parse_special = true});
      const auto plain = tokenizer->encode(text.get<std::string>(), {.add_special = false, .parse_special = false});
      ASSERT_TRUE(parsed && plain) << row["name"] << text;
      const auto control = [&](int32_t id) { return tokenizer->type(id) == TokenType::kControl; };
      EXPECT_TRUE(std::ranges::none_of(*plain, control)) << row["name"] << text;
      EXPECT_EQ(*plain, fresh->encode(text.get<std::string>(), {.add_special = false})) << row["name"] << text;
      arisen += row["name"].get<std::string>().starts_with("control") && std::ranges::any_of(*parsed, control) ? 1 : 0;
    }
  }
  EXPECT_GE(arisen, 5);
}

INSTANTIATE_TEST_SUITE_P(All, Component, ::testing::ValuesIn(rows_of("encode")),
                         [](const auto& info) { return name_of(golden()["encode"][info.param]); });

class Decoder : public ::testing::TestWithParam<size_t> {};

TEST_P(Decoder, GivesTheTextsOfTheReference) {
  const json& row = golden()["decode"][GetParam()];
  const auto tokenizer = Tokenizer::from_json(spec_of("decode_base", row["parts"]).dump());
  ASSERT_TRUE(tokenizer) << tokenizer.error().text();
  for (size_t i = 0; i < golden()["sequences"].size(); ++i) {
    const json& ids = golden()["sequences"][i];
    EXPECT_EQ(tokenizer->decode(ids.get<std::vector<int32_t>>()), row["texts"][i].get<std::string>()) << ids;
  }
}

INSTANTIATE_TEST_SUITE_P(All, Decoder, ::testing::ValuesIn(rows_of("decode")),
                         [](const auto& info) { return name_of(golden()["decode"][info.param]); });

/// All values of members named "type" in the golden file's rows, by the member of the root that they stand in.
void collect_types(const json& value, std::set<std::string>& out) {
  if (value.is_object() && value.contains("type") && value["type"].is_string()) out.insert(value["type"]);
  if (value.is_structured()) {
    for (const json& inner : value) collect_types(inner, out);
  }
}

TEST(Components, AreAllThatTheFormatKnows) {
  const std::pair<const char*, std::set<std::string>> known[] = {
      {"model", {"BPE", "Unigram", "WordLevel", "WordPiece"}},
      {"normalizer",
       {"BertNormalizer", "ByteLevel", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Precompiled", "Prepend",
        "Replace", "Sequence", "Strip", "StripAccents"}},
      {"pre_tokenizer",
       {"BertPreTokenizer", "ByteLevel", "CharDelimiterSplit", "Digits", "FixedLength", "Metaspace", "Punctuation",
        "Sequence", "Split", "UnicodeScripts", "Whitespace", "WhitespaceSplit"}},
      {"post_processor", {"BertProcessing", "ByteLevel", "RobertaProcessing", "Sequence", "TemplateProcessing"}},
      {"decoder",
       {"BPEDecoder", "ByteFallback", "ByteLevel", "CTC", "Fuse", "Metaspace", "Replace", "Sequence", "Strip",
        "WordPiece"}},
  };
  for (const auto& [member, types] : known) {
    std::set<std::string> found;
    for (const char* list : {"encode", "decode"}) {
      for (const json& row : golden()[list]) {
        if (row["parts"].contains(member)) collect_types(row["parts"][member], found);
      }
    }
    EXPECT_EQ(found, types) << member;
  }
}

TEST(Components, TellTheLengthsThatTheyDoNotApply) {
  for (const json& row : golden()["encode"]) {
    if (row["name"] != "truncation and padding") continue;
    const auto tokenizer = Tokenizer::from_json(spec_of("base", row["parts"]).dump());
    ASSERT_TRUE(tokenizer) << tokenizer.error().text();
    EXPECT_EQ(tokenizer->lengths().truncate_to, 4);
    EXPECT_TRUE(tokenizer->lengths().truncate_left);
    EXPECT_EQ(tokenizer->lengths().pad_to, 9);
    EXPECT_TRUE(tokenizer->lengths().pad_left);
    EXPECT_EQ(tokenizer->lengths().pad_id, 3);
  }
}

TEST(Components, RefuseUnknownOnesByName) {
  for (const char* member : {"normalizer", "pre_tokenizer", "post_processor", "decoder", "model"}) {
    json component = member == std::string("model") ? golden()["base"]["model"] : json::object();
    component["type"] = "Oracle";
    EXPECT_THAT(refused({{member, component}}), HasSubstr("\"Oracle\"")) << member;
    EXPECT_THAT(refused({{member, component}}), HasSubstr(member)) << member;
  }
  const json inner = {{"type", "Sequence"}, {"normalizers", {{{"type", "NFC"}}, {{"type", "Oracle"}}}}};
  EXPECT_THAT(refused({{"normalizer", inner}}), HasSubstr("normalizer: unknown type \"Oracle\""));
  EXPECT_THAT(refused({{"normalizer", 5}}), HasSubstr("normalizer"));
  EXPECT_THAT(refused({{"normalizer", {{"type", 5}}}}), HasSubstr("normalizer: \"type\""));
}

TEST(Components, RefuseUnknownValuesByName) {
  const auto pre = [](json component) { return refused({{"pre_tokenizer", std::move(component)}}); };
  const json pattern = {{"String", "a"}};
  EXPECT_THAT(pre({{"type", "Punctuation"}, {"behavior", "Sometimes"}}), HasSubstr("unknown behavior \"Sometimes\""));
  EXPECT_THAT(pre({{"type", "Split"}, {"pattern", pattern}, {"behavior", "Never"}}),
              HasSubstr("pre_tokenizer Split: unknown behavior \"Never\""));
  EXPECT_THAT(pre({{"type", "Split"}, {"pattern", {{"Glob", "*"}}}, {"behavior", "Isolated"}}),
              HasSubstr("pre_tokenizer Split"));
  EXPECT_THAT(pre({{"type", "Split"}, {"pattern", pattern}, {"behavior", "Isolated"}, {"invert", "yes"}}),
              HasSubstr("\"invert\" is a JSON string; true or false expected"));
  EXPECT_THAT(pre({{"type", "Metaspace"}, {"prepend_scheme", "maybe"}}), HasSubstr("unknown prepend_scheme \"maybe\""));
  EXPECT_THAT(pre({{"type", "Metaspace"}, {"replacement", "xy"}}), HasSubstr("one character"));
  EXPECT_THAT(pre({{"type", "Digits"}, {"individual_digits", 1}}), HasSubstr("individual_digits"));
  EXPECT_THAT(pre({{"type", "CharDelimiterSplit"}, {"delimiter", ""}}), HasSubstr("delimiter"));
  EXPECT_THAT(pre({{"type", "CharDelimiterSplit"}, {"delimiter", "ab"}}), HasSubstr("delimiter"));
  EXPECT_THAT(pre({{"type", "FixedLength"}, {"length", 0}}), HasSubstr("\"length\" is 0"));
  EXPECT_THAT(refused({{"normalizer", {{"type", "Strip"}, {"strip_left", "no"}}}}), HasSubstr("strip_left"));
  EXPECT_THAT(refused({{"normalizer", {{"type", "Prepend"}, {"prepend", 1}}}}), HasSubstr("prepend"));
  EXPECT_THAT(refused({{"normalizer", {{"type", "Precompiled"}, {"precompiled_charsmap", "?"}}}}),
              HasSubstr("precompiled_charsmap"));
  EXPECT_THAT(refused({{"normalizer", {{"type", "BertNormalizer"}, {"lowercase", "x"}}}}), HasSubstr("lowercase"));
  EXPECT_THAT(refused({{"decoder", {{"type", "Metaspace"}, {"prepend_scheme", "maybe"}}}}),
              HasSubstr("unknown prepend_scheme \"maybe\""));
  EXPECT_THAT(refused({{"decoder", {{"type", "Strip"}, {"content", "ab"}}}}), HasSubstr("decoder Strip"));
  EXPECT_THAT(refused({{"decoder", {{"type", "CTC"}, {"cleanup", 7}}}}), HasSubstr("cleanup"));
}

TEST(Components, RefuseDamagedProcessorsAndSettingsByName) {
  const json bert = {{"type", "BertProcessing"}, {"cls", {"x"}}, {"sep", {"x", 1}}};
  EXPECT_THAT(refused({{"post_processor", bert}}), HasSubstr("post_processor BertProcessing"));
  json single = json::array({{{"SpecialToken", {{"id", "<no>"}, {"type_id", 0}}}}});
  json frame = {{"type", "TemplateProcessing"}, {"single", single}, {"special_tokens", json::object()}};
  EXPECT_THAT(refused({{"post_processor", frame}}), HasSubstr("\"<no>\" is not among the \"special_tokens\""));
  frame["special_tokens"]["<no>"] = {{"id", "<no>"}, {"ids", {999}}, {"tokens", {"<no>"}}};
  EXPECT_THAT(refused({{"post_processor", frame}}), HasSubstr("id 999 is past the vocabulary of 256"));
  frame["single"] = json::array({{{"Sequence", {{"id", "C"}, {"type_id", 0}}}}});
  EXPECT_THAT(refused({{"post_processor", frame}}), HasSubstr("post_processor TemplateProcessing"));

  EXPECT_THAT(refused({{"truncation", {{"direction", "Up"}, {"max_length", 1}}}}), HasSubstr("truncation"));
  EXPECT_THAT(refused({{"truncation", {{"max_length", "many"}}}}), HasSubstr("max_length"));
  EXPECT_THAT(refused({{"truncation", {{"max_length", -1}}}}), HasSubstr("max_length"));
  EXPECT_THAT(refused({{"truncation", {{"max_length", 5}, {"strategy", "Whim"}}}}), HasSubstr("\"Whim\""));
  EXPECT_THAT(refused({{"truncation", 5}}), HasSubstr("truncation"));
  EXPECT_THAT(refused({{"padding", {{"direction", "Up"}}}}), HasSubstr("padding"));
  EXPECT_THAT(refused({{"padding", {{"pad_id", -1}}}}), HasSubstr("pad_id"));
  EXPECT_THAT(refused({{"padding", {{"strategy", "Whim"}}}}), HasSubstr("\"Whim\""));
  EXPECT_THAT(refused({{"padding", {{"strategy", {{"Fixed", "x"}}}}}}), HasSubstr("strategy"));
  EXPECT_THAT(refused({{"padding", 5}}), HasSubstr("padding"));

  const json token = {{"id", 256}, {"content", "<x>"}, {"special", true}};
  const auto added = [&](const char* key, json value) {
    json changed = token;
    changed[key] = std::move(value);
    return refused({{"added_tokens", {changed}}});
  };
  EXPECT_THAT(added("id", -2), HasSubstr("added_tokens[0]"));
  EXPECT_THAT(added("id", "x"), HasSubstr("added_tokens[0]: \"id\""));
  EXPECT_THAT(added("content", 4), HasSubstr("added_tokens[0]: \"content\""));
  EXPECT_THAT(added("lstrip", 4), HasSubstr("added_tokens[0]: \"lstrip\""));
  EXPECT_THAT(added("single_word", "no"), HasSubstr("added_tokens[0]: \"single_word\""));
  EXPECT_THAT(refused({{"added_tokens", {token, token, 4}}}), HasSubstr("added_tokens[2]"));
  EXPECT_THAT(refused({{"added_tokens", 4}}), HasSubstr("added_tokens"));
}

}  // namespace
}  // namespace lamina::text
