#include "serve/fields.h"

#include <gtest/gtest.h>

#include <array>

namespace lamina::serve {
namespace {

constexpr std::array kFields{
    Field{"name", FieldType::kText, "", true, 1, 8},
    Field{"count", FieldType::kInteger, "", false, 1, 16},
    Field{"share", FieldType::kNumber, "", false, 0, 1},
    Field{"flag", FieldType::kFlag, ""},
    Field{"kind", FieldType::kText, "", false, 0, 0, "one|two"},
    Field{"stop", FieldType::kTexts, ""},
    Field{"prompt", FieldType::kPrompt, ""},
    Field{"list", FieldType::kList, "", false, 1, 2},
};

/// The field that is at fault, or "" when there is none.
std::string fault(const std::string& text) {
  auto body = parse_body(text);
  if (!body) return "body: " + body.error().message;
  const auto fits = check_fields(*body, kFields);
  if (fits) return "";
  EXPECT_EQ(fits.error().status, 400);
  EXPECT_NE(fits.error().message.find(fits.error().field), std::string::npos);
  return fits.error().field;
}

TEST(Fields, TypesAndLimits) {
  EXPECT_EQ(fault(R"({"name": "a"})"), "");
  EXPECT_EQ(fault(R"({"name": "a", "count": 16, "share": 1, "flag": true, "kind": "two", "list": [1, "x"]})"), "");
  EXPECT_EQ(fault(R"({})"), "name");
  EXPECT_EQ(fault(R"({"name": null})"), "name");
  EXPECT_EQ(fault(R"({"name": 1})"), "name");
  EXPECT_EQ(fault(R"({"name": ""})"), "name");
  EXPECT_EQ(fault(R"({"name": "123456789"})"), "name");
  EXPECT_EQ(fault(R"({"name": "a", "count": 0})"), "count");
  EXPECT_EQ(fault(R"({"name": "a", "count": 17})"), "count");
  EXPECT_EQ(fault(R"({"name": "a", "count": 1.5})"), "count");
  EXPECT_EQ(fault(R"({"name": "a", "count": 18446744073709551615})"), "count");
  EXPECT_EQ(fault(R"({"name": "a", "count": -9223372036854775808})"), "count");
  EXPECT_EQ(fault(R"({"name": "a", "share": 1.0001})"), "share");
  EXPECT_EQ(fault(R"({"name": "a", "flag": 1})"), "flag");
  EXPECT_EQ(fault(R"({"name": "a", "kind": "three"})"), "kind");
  EXPECT_EQ(fault(R"({"name": "a", "list": []})"), "list");
  EXPECT_EQ(fault(R"({"name": "a", "list": [1, 2, 3]})"), "list");
  EXPECT_EQ(fault(R"({"name": "a", "other": 1})"), "other");
  EXPECT_EQ(fault(R"({"name": "a", "other": null})"), "other");
}

TEST(Fields, TextsAndPrompts) {
  for (const char* right : {R"("x")", R"([])", R"(["x", "y"])"}) {
    EXPECT_EQ(fault(fmt::format(R"({{"name": "a", "stop": {}}})", right)), "") << right;
    EXPECT_EQ(fault(fmt::format(R"({{"name": "a", "prompt": {}}})", right)), "") << right;
  }
  for (const char* right : {"[1, 2]", "[[1], [2, 3]]", "[[]]"})
    EXPECT_EQ(fault(fmt::format(R"({{"name": "a", "prompt": {}}})", right)), "") << right;
  for (const char* wrong : {"1", "[1]", R"(["x", 1])", "{}"})
    EXPECT_EQ(fault(fmt::format(R"({{"name": "a", "stop": {}}})", wrong)), "stop") << wrong;
  for (const char* wrong : {"1", R"(["x", 1])", R"([[1], "x"])", "[1.5]", "[[[1]]]", "{}"})
    EXPECT_EQ(fault(fmt::format(R"({{"name": "a", "prompt": {}}})", wrong)), "prompt") << wrong;
}

TEST(Fields, NullsAreAbsent) {
  Json body = Json::parse(R"({"name": "a", "count": null})");
  ASSERT_TRUE(check_fields(body, kFields));
  EXPECT_FALSE(body.contains("count"));
  EXPECT_EQ(value_of(body, "count", 3), 3);
}

TEST(Fields, BodiesThatAreNone) {
  EXPECT_EQ(fault("[]"), "body: the body is array; an object expected");
  for (const std::string& broken :
       {std::string(""), std::string("{"), std::string(R"({"name": "a"} x)"), std::string("{\"name\": \"\xff\"}"),
        std::string("{\"name\": \"\xed\xa0\x80\"}"), std::string(R"({"name": 1e999})"), std::string(R"({"name": NaN})"),
        std::string("{\"name\": \"a\", \"name\": \"b\"}"), std::string(R"({"name": "\ud800"})")}) {
    EXPECT_TRUE(fault(broken).starts_with("body: the body")) << broken << " -> " << fault(broken);
  }
  const std::string deep = R"({"name": )" + std::string(100000, '[') + std::string(100000, ']') + "}";
  EXPECT_NE(fault(deep).find("deeper"), std::string::npos);
}

}  // namespace
}  // namespace lamina::serve
