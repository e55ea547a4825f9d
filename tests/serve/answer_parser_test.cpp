// Thoughts, content and calls told apart, however the text is cut.
#include "serve/answer_parser.h"

#include <gtest/gtest.h>

#include "serve/chat_request.h"

namespace lamina::serve {
namespace {

const ToolForm& form_named(std::string_view name) {
  for (const ToolForm& form : tool_forms()) {
    if (form.name == name) return form;
  }
  throw std::runtime_error("no such form");
}

constexpr ThinkForm kThinks{"<think>", "</think>"};

struct Parsed {
  std::string reasoning;
  std::string content;
  std::vector<std::pair<std::string, std::string>> calls;
  bool operator==(const Parsed&) const = default;
};

void PrintTo(const Parsed& parsed, std::ostream* out) {
  *out << "thinks \"" << parsed.reasoning << "\" says \"" << parsed.content << "\"";
  for (const auto& [name, arguments] : parsed.calls) *out << " calls " << name << "(" << arguments << ")";
}

Parsed parse(std::string_view form, std::string_view text, size_t cut, const ParseOptions& options) {
  const AnswerForm answer{.tools = &form_named(form), .thinks = &kThinks};
  AnswerParser parser(answer, options);
  ParsedAnswer all;
  for (size_t i = 0; i < text.size(); i += cut) all.add(parser.push(text.substr(i, cut)));
  all.add(parser.finish());
  Parsed out{.reasoning = all.reasoning, .content = all.content, .calls = {}};
  for (const auto& call : all.calls) out.calls.emplace_back(call.name, call.arguments);
  EXPECT_EQ(static_cast<size_t>(parser.calls()), out.calls.size());
  return out;
}

void expect(std::string_view form, std::string_view text, const Parsed& right,
            ParseOptions options = {.reasoning = true, .begins_inside = false, .tools = true}) {
  for (const size_t cut : {size_t{1}, size_t{2}, size_t{3}, size_t{7}, size_t{1000}})
    EXPECT_EQ(parse(form, text, cut, options), right) << form << ", pieces of " << cut << ": " << text;
}

TEST(AnswerParser, ReadsCallsOfEachForm) {
  const Parsed one{.reasoning = "", .content = "", .calls = {{"f", R"({"a": [1, "}"]})"}}};
  const Parsed two{.reasoning = "", .content = "", .calls = {{"f", R"({"a": 1})"}, {"g", "{}"}}};
  expect("hermes", "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": [1, \"}\"]}}\n</tool_call>", one);
  expect("hermes",
         "<tool_call>{\"arguments\":{\"a\": 1},\"name\":\"f\"}</tool_call>\n<tool_call>\n{\"name\": \"g\", "
         "\"arguments\": {}}\n</tool_call>\n",
         two);
  expect("generic", "{\"name\": \"f\", \"arguments\": {\"a\": [1, \"}\"]}}", one);
  expect("bare-parameters", "{\"name\": \"f\", \"parameters\": {\"a\": [1, \"}\"]}}", one);
  expect("bare-parameters", "<|python_tag|>{\"name\": \"f\", \"parameters\": {\"a\": [1, \"}\"]}}", one);
  expect("bracket-list",
         "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"a\": 1}}, {\"name\": \"g\", \"arguments\": {}}]", two);
  expect("bracket-named", "[TOOL_CALLS]f[ARGS]{\"a\": 1}[TOOL_CALLS]g[ARGS]{}", two);
  expect("bar-list",
         "<|tool_call|>[{\"name\": \"f\", \"arguments\": {\"a\": 1}}, {\"name\": \"g\", \"arguments\": {}}]", two);
  expect("fenced",
         "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{\"a\": "
         "1}\n```<｜tool▁call▁end｜>\n"
         "<｜tool▁call▁begin｜>function<｜tool▁sep｜>g\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
         two);
  expect("separated",
         "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"a\": "
         "1}<｜tool▁call▁end｜><｜tool▁call▁begin｜>g<｜tool▁sep｜>{}"
         "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
         two);
}

TEST(AnswerParser, ReadsArgumentsBetweenTags) {
  ParseOptions options{.reasoning = true, .begins_inside = false, .tools = true};
  options.known = {
      {.name = "f",
       .parameters = Json::parse(R"({"properties": {"code": {"type": "string"}, "n": {"type": "integer"}}})"),
       .strict = false,
       .place = ""}};
  const Parsed one{.reasoning = "hm",
                   .content = "Let me see.",
                   .calls = {{"f", R"({"code": "5", "n": 5})"}, {"f", R"({"code": "a\n<b>\n", "free": [1]})"}}};
  expect("xml-functions",
         "<think>hm</think>Let me see.\n<tool_call>\n<function=f>\n<parameter=code>\n5\n</parameter>\n"
         "<parameter=n>\n5\n</parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=f>\n<parameter=code>\n"
         "a\n<b>\n\n</parameter>\n<parameter=free>\n[1]\n</parameter>\n</function>\n</tool_call>",
         one, options);
  expect("xml-arguments",
         "<think>hm</think>Let me see.\n<tool_call>f\n<arg_key>code</arg_key>\n<arg_value>5</arg_value>\n"
         "<arg_key>n</arg_key>\n<arg_value>5</arg_value>\n</tool_call>\n<tool_call>f\n<arg_key>code</arg_key>\n"
         "<arg_value>a\n<b>\n</arg_value><arg_key>free</arg_key>\n<arg_value>[1]</arg_value>\n</tool_call>",
         one, options);
  const Parsed none{.reasoning = "", .content = "", .calls = {{"g", "{}"}}};
  expect("xml-functions", "<tool_call>\n<function=g>\n</function>\n</tool_call>", none, options);
  expect("xml-arguments", "<tool_call>g\n</tool_call>", none, options);
  expect("xml-arguments", "<tool_call>g</tool_call>", none, options);
  expect("xml-functions", "<tool_call>\n<fun>", {.reasoning = "", .content = "<tool_call>\n<fun>", .calls = {}},
         options);
}

TEST(AnswerParser, ReadsMessagesOfChannels) {
  const std::string call =
      "<|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{\"a\": 1}<|call|>";
  const std::string thought = "<|channel|>analysis<|message|>hm, so<|end|>";
  const std::string said = "<|start|>assistant<|channel|>final<|message|>a < b <|x|>.<|return|>";
  expect("harmony", thought + said, {.reasoning = "hm, so", .content = "a < b <|x|>.", .calls = {}});
  expect("harmony", thought + call, {.reasoning = "hm, so", .content = "", .calls = {{"f", "{\"a\": 1}"}}});
  expect("harmony", " to=functions.f<|channel|>commentary json<|message|>{}",
         {.reasoning = "", .content = "", .calls = {{"f", "{}"}}});
  expect("harmony", "<|channel|>final<|message|>Yes.", {.reasoning = "", .content = "Yes.", .calls = {}});
  expect("harmony", "Plain.", {.reasoning = "", .content = "Plain.", .calls = {}});
  expect("harmony", "<|channel|>ana", {.reasoning = "", .content = "", .calls = {}});
  expect("harmony", "the rest.<|end|>" + call,
         {.reasoning = "", .content = "the rest.", .calls = {{"f", "{\"a\": 1}"}}},
         {.reasoning = true, .begins_inside = false, .tools = true, .continues = true});
  expect("harmony", thought + call, {.reasoning = "", .content = "hm, so{\"a\": 1}", .calls = {}}, {});
}

TEST(AnswerParser, KeepsWhatIsSaid) {
  expect("hermes", "Let me look. \n<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>",
         {.reasoning = "", .content = "Let me look.", .calls = {{"f", "{}"}}});
  expect("hermes", "a < b, <tool> and  spaces ",
         {.reasoning = "", .content = "a < b, <tool> and  spaces ", .calls = {}});
  expect("hermes", "{\"a\": 1}", {.reasoning = "", .content = "{\"a\": 1}", .calls = {}});
  expect("generic", "{\"a\": 1}", {.reasoning = "", .content = "{\"a\": 1}", .calls = {}});
  expect("bare-parameters", "{ no JSON", {.reasoning = "", .content = "{ no JSON", .calls = {}});
  expect("hermes", "<tool_call>what</tool_call>",
         {.reasoning = "", .content = "<tool_call>what</tool_call>", .calls = {}});
  expect("hermes", "<tool_call>{\"name\": \"f\"}", {.reasoning = "", .content = "", .calls = {{"f", "{}"}}});
  // Without tools nothing is a call.
  expect("hermes", "<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>",
         {.reasoning = "", .content = "<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>", .calls = {}},
         {.reasoning = true});
}

TEST(AnswerParser, TellsWhatWasCutOff) {
  expect("hermes", "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"lo",
         {.reasoning = "", .content = "", .calls = {{"f", "{\"a\": \"lo"}}});
  expect("hermes", "<tool_call>{\"na", {.reasoning = "", .content = "<tool_call>{\"na", .calls = {}});
  expect("hermes", "text <tool_c", {.reasoning = "", .content = "text <tool_c", .calls = {}});
}

TEST(AnswerParser, SplitsThoughts) {
  expect("hermes", "<think>\nhm, so\n\n</think>\n\nYes.", {.reasoning = "hm, so", .content = "Yes.", .calls = {}});
  expect("hermes", "hm </think>Yes. <think>", {.reasoning = "hm", .content = "Yes. <think>", .calls = {}},
         {.reasoning = true, .begins_inside = true});
  expect("hermes", "<think>\n\n</think>\n\nYes.", {.reasoning = "", .content = "Yes.", .calls = {}});
  expect("hermes", "<think>a < b </thin", {.reasoning = "a < b </thin", .content = "", .calls = {}});
  expect("hermes", "<think>I call</think>\n<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>",
         {.reasoning = "I call", .content = "", .calls = {{"f", "{}"}}});
  expect("hermes", "<think>a</think>b", {.reasoning = "", .content = "<think>a</think>b", .calls = {}},
         {.reasoning = false});
  expect("hermes", "  <thinking> is hard", {.reasoning = "", .content = "  <thinking> is hard", .calls = {}},
         {.reasoning = true});
}

}  // namespace
}  // namespace lamina::serve
