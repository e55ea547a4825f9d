#include "format/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace lamina::format {
namespace {

using ::testing::HasSubstr;

std::string error_of(const std::string& text) {
  const auto parsed = parse_json(text, "c.json");
  return parsed ? "" : parsed.error().text();
}

std::string repeated(std::string_view piece, int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += piece;
  return text;
}

TEST(Json, ReadsWhatTheLibraryReads) {
  for (const char* text :
       {"null", "true", "-1", "18446744073709551615", "1.5e3", R"("\u00e9\ud83d\ude00")", "[]", "{}",
        R"({"a":[1,{"b":[]},"c"],"d":{"e":{"f":null}},"g":-0.25})", " [1 , 2 ]\n", "\xef\xbb\xbf{}"}) {
    const auto parsed = parse_json(text, "c.json");
    ASSERT_TRUE(parsed) << text << parsed.error().text();
    EXPECT_EQ(*parsed, nlohmann::json::parse(text)) << text;
  }
}

TEST(Json, SaysLineAndColumn) {
  EXPECT_THAT(error_of("{\n  \"a\": 1,\n  \"b\": x\n}"), HasSubstr("c.json: JSON at 3:8: "));
  EXPECT_THAT(error_of("{\n  \"a\": 1,\n  \"a\": 2}"), HasSubstr("c.json: JSON at 3:5: key \"a\" appears twice"));
  EXPECT_THAT(error_of(""), HasSubstr("JSON at 1:1: "));
  EXPECT_THAT(error_of("[1, 2"), HasSubstr("unexpected end of input"));
  EXPECT_THAT(error_of("[1] 2"), HasSubstr("JSON at 1:5"));
}

TEST(Json, RefusesWhatIsNotJson) {
  for (const char* text :
       {"{'a':1}", "[1,]", "{\"a\" 1}", "NaN", "1e999", "\"\xff\"", "\"\\ud800\"", "// c\n1", "01"}) {
    EXPECT_NE(error_of(text), "") << text;
  }
  EXPECT_NE(error_of(std::string("\"a\0b\"", 5)), "");
}

TEST(Json, FindsDuplicateKeysAtAnyDepth) {
  EXPECT_EQ(error_of(R"([{"a":1},{"a":1}])"), "");
  EXPECT_EQ(error_of(R"({"a":{"a":{"a":1}}})"), "");
  EXPECT_THAT(error_of(R"([{"b":{"a":1,"c":{},"a":1}}])"), HasSubstr("key \"a\" appears twice"));
}

TEST(Json, BoundsDepth) {
  EXPECT_EQ(error_of(repeated("[", 128) + repeated("]", 128)), "");
  EXPECT_THAT(error_of(repeated("[", 129) + repeated("]", 129)), HasSubstr("nested deeper than 128"));
  EXPECT_THAT(error_of(repeated("[", 100000)), HasSubstr("nested deeper than 128"));
  EXPECT_THAT(error_of(repeated("{\"a\":", 100000)), HasSubstr("nested deeper than 128"));
  EXPECT_EQ(error_of(repeated("[", 100) + repeated("]", 100)), "");
}

TEST(Json, ShortensWhatItQuotes) {
  EXPECT_LT(error_of("[" + std::string(100000, 'x')).size(), 400u);
  EXPECT_LT(error_of("{\"" + std::string(100000, 'x') + "\" 1}").size(), 400u);
  EXPECT_LT(error_of("\"" + std::string(100000, '\x01')).size(), 400u);
}

}  // namespace
}  // namespace lamina::format
