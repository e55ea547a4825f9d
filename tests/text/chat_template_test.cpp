#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "support/source_dir.h"

namespace lamina::text {
namespace {

using Json = nlohmann::ordered_json;

Json load(const std::string& name) {
  std::ifstream file(source_dir() / "tests/golden/template" / name);
  return Json::parse(file);
}

class UtcClock : public ::testing::Test {
 protected:
  void SetUp() override {
    setenv("TZ", "UTC", 1);
    tzset();
  }
};
using Golden = UtcClock;
using Template = UtcClock;

std::string render(const std::string& source, const ChatTemplateInput& input, const TemplateLimits& limits = {}) {
  const auto compiled = ChatTemplate::compile(source);
  if (!compiled) return "ERROR " + compiled.error().text();
  const auto text = compiled->render(input, limits);
  return text ? *text : "ERROR " + text.error().text();
}

std::string render(const std::string& source) {
  return render(source, {});
}

void expect_result(const std::string& source, const ChatTemplateInput& input, const Json& expected) {
  const std::string got = render(source, input);
  if (expected.contains("text")) {
    EXPECT_EQ(got, expected["text"].get<std::string>()) << source;
    return;
  }
  const std::string message = expected["error"];
  ASSERT_TRUE(got.starts_with("ERROR ")) << source << "\ngave: " << got << "\ninstead of the error: " << message;
  if (expected["exact"].get<bool>()) {
    EXPECT_NE(got.find(message), std::string::npos) << source << "\n" << got << "\n" << message;
  }
}

TEST_F(Golden, ExpressionsMatchJinja2) {
  const Json golden = load("micro.json");
  ChatTemplateInput input;
  input.now_unix = golden["now"].get<int64_t>();
  input.extra = golden["context"];
  ASSERT_GT(golden["cases"].size(), 400u);
  for (const auto& item : golden["cases"]) expect_result(item["template"].get<std::string>(), input, item);
}

TEST_F(Golden, ChatsMatchJinja2) {
  const Json golden = load("chats.json");
  for (const auto& item : golden["templates"]) {
    SCOPED_TRACE(item["name"].get<std::string>());
    for (size_t i = 0; i < item["results"].size(); ++i) {
      SCOPED_TRACE(i);
      const Json& chat = golden["conversations"][i];
      ChatTemplateInput input;
      input.messages = chat["messages"];
      input.tools = chat.value("tools", Json());
      input.add_generation_prompt = chat.value("add_generation_prompt", false);
      input.bos_token = "<s>";
      input.eos_token = "</s>";
      input.extra = chat.value("extra", Json());
      input.now_unix = golden["now"].get<int64_t>();
      expect_result(item["template"].get<std::string>(), input, item["results"][i]);
    }
  }
}

ChatTemplateInput partial(const Json& messages, const std::string& field = "content") {
  ChatTemplateInput input;
  input.messages = messages;
  input.continue_field = field;
  return input;
}

TEST_F(Template, APartialMessageEndsTheText) {
  const std::string plain = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}";
  const std::string trimmed = "{% for m in messages %}<{{ m.role }}>{{ m.content|trim }}</>{% endfor %}";
  const auto said = [](const Json& content) {
    return Json{{{"role", "user"}, {"content", "count"}}, {{"role", "assistant"}, {"content", content}}};
  };
  EXPECT_EQ(render(plain, partial(said("one \n"))), "<user>count</><assistant>one \n");
  EXPECT_EQ(render(trimmed, partial(said(" one \n"))), "<user>count</><assistant>one");
  EXPECT_EQ(render(plain, partial(said(""))), "<user>count</><assistant>");
  const std::string parts = "{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}.{% endfor %}";
  EXPECT_EQ(
      render(parts, partial({{{"role", "user"}, {"content", {{{"type", "text"}, {"text", "a"}}, {{"type", "x"}}}}}})),
      "a");
  EXPECT_EQ(render("{{ messages[0].content }}", partial(said("x"))),
            "ERROR continue_final_message: the chat template changes or leaves out the last message");
  EXPECT_EQ(render("{{ messages }}", partial(said("x"))),
            "ERROR continue_final_message: the chat template does not read 'content'");
  EXPECT_EQ(render(plain, partial(said(nullptr))),
            "ERROR continue_final_message: the last message has no 'content' to be continued");
  EXPECT_EQ(render(plain, partial(Json::array())), "ERROR continue_final_message: there is no message to be continued");
  ChatTemplateInput both = partial(said("x"));
  both.add_generation_prompt = true;
  EXPECT_EQ(render(plain, both),
            "ERROR continue_final_message: excludes add_generation_prompt, which opens a new message");
}

TEST_F(Template, ReasoningHasTheNamesThatTemplatesRead) {
  for (const char* name : {"reasoning_content", "thinking", "reasoning"}) {
    ChatTemplateInput input;
    input.messages = Json{{{"role", "assistant"}, {"content", "4"}, {name, "2+2"}}};
    EXPECT_EQ(render("{{ messages[0].thinking }}|{{ messages[0].reasoning_content }}", input), "2+2|2+2") << name;
    input.continue_field = "reasoning_content";
    EXPECT_EQ(render("<{{ messages[0].thinking }}>{{ messages[0].content }}", input), "<2+2") << name;
  }
}

TEST_F(Template, UnknownNamesAreRefusedBeforeTheyAreReached) {
  EXPECT_EQ(render("{% for x in [] %}\n{{ x|nope }}{% endfor %}"),
            "ERROR chat template, line 2: no filter named 'nope'");
  EXPECT_EQ(render("{% macro m() %}{{ 1 is nope }}{% endmacro %}"),
            "ERROR chat template, line 1: no test named 'nope'");
  EXPECT_EQ(render("{% if false %}{{ 1|nope }}{% endif %}{{ 1|nope if false else 2 }}"), "2");
}

TEST_F(Template, NamespacesThatHoldThemselvesAreNotPrintedForEver) {
  EXPECT_TRUE(
      render("{% set n = namespace(a=1) %}{% set n.b = [n] %}{{ n }}").starts_with("ERROR chat template, line 1"));
}

TEST_F(Template, ErrorsNameTheLineAndWhatIsUnknown) {
  EXPECT_EQ(render("a\n{{ 1|nope }}"), "ERROR chat template, line 2: no filter named 'nope'");
  EXPECT_EQ(render("a\n\n{{ 1 is nope }}"), "ERROR chat template, line 3: no test named 'nope'");
  EXPECT_EQ(render("{# a\n #}{{ nope() }}"), "ERROR chat template, line 2: 'nope' is undefined");
  EXPECT_TRUE(render("a\n{% nope %}").starts_with("ERROR chat template, line 2: unknown tag 'nope'"));
  EXPECT_EQ(render("{{ [1,\n2,\n none + 1] }}").substr(0, 28), "ERROR chat template, line 3:");
  EXPECT_EQ(render("{% for x in [1] %}\n\n{{ raise_exception('no ' ~ x) }}{% endfor %}"),
            "ERROR chat template, line 3: no 1");
}

TEST_F(Template, BoundsHold) {
  TemplateLimits small;
  small.value_bytes = 1 << 20;
  small.output_bytes = 1 << 20;
  small.live_bytes = 8 << 20;
  small.steps = 1'000'000;
  const std::vector<std::string> hostile = {
      "{{ 'a' * 10**9 }}",
      "{{ [1] * 10**9 }}",
      "{{ range(10**9) }}",
      "{{ '%999999999d' % 1 }}",
      "{{ '{:999999999}'.format(1) }}",
      "{{ 'a'.ljust(10**9) }}",
      "{{ 'a'|indent(10**9, true) }}",
      "{{ [1]|tojson(indent=10**9) }}",
      "{{ [1]|batch(10**9, 1)|list }}",
      "{{ []|slice(10**9)|list }}",
      "{{ 9223372036854775807 + 1 }}",
      "{{ 10**100 }}",
      "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
      "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
      "{% set n = namespace(x='ab') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
      "{% set n = namespace(x='ab') %}{% for i in range(99) %}{% set n.x = n.x.replace('', n.x) %}{% endfor %}",
      "{% set n = namespace(x=[]) %}{% for i in range(9999) %}{% set n.x = [n.x] %}{% endfor %}",
      "{% set n = namespace(x=[]) %}{% for i in range(99) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x == n.x }}",
      "{% set n = namespace(x=[]) %}{% for i in range(999) %}{% set n.x = n.x + [n.x.index] %}{% endfor %}",
      "{% for i in range(99999) %}{{ 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' }}{% endfor %}",
      "{{ " + std::string(100000, '(') + std::string(100000, ')') + " }}",
      "{{ " + std::string(100000, '-') + "1 }}",
      "{{ 1" +
          [] {
            std::string s;
            for (int i = 0; i < 50000; ++i) s += "|abs";
            return s;
          }() +
          " }}",
      [] {
        std::string s;
        for (int i = 0; i < 50000; ++i) s += "{% if 1 %}";
        return s;
      }(),
  };
  for (const auto& source : hostile) {
    const auto compiled = ChatTemplate::compile(source);
    const auto result = compiled ? compiled->render({}, small) : std::unexpected(compiled.error());
    ASSERT_FALSE(result.has_value()) << source.substr(0, 80);
    EXPECT_EQ(result.error().code, core::ErrorCode::kLimit) << source.substr(0, 80) << result.error().text();
  }
}

TEST_F(Template, ExtremeIntegersAreHarmless) {
  const std::string least = "(-9223372036854775807 - 1)";
  EXPECT_EQ(
      render("{{ 'a'.ljust(" + least + ") }}{{ '7'.zfill(" + least + ") }}{{ [1]|batch(" + least + ", 2)|list }}"),
      "a7[[1]]");
  EXPECT_TRUE(render("{{ range(0, 9000000000000000000, 8000000000000000000)[1:5] }}").starts_with("ERROR"));
  EXPECT_TRUE(render("{{ '%*d' % (" + least + ", 1) }}").starts_with("ERROR"));
  EXPECT_TRUE(render("{{ 9223372036854775807|round(-19) }}").starts_with("ERROR"));
  EXPECT_TRUE(render("{{ " + least + " // -1 }}").starts_with("ERROR"));
  EXPECT_EQ(render("{{ " + least + " % -1 }}{{ 'abc'[" + least + ":] }}{{ 'abc'[::" + least + "] }}"), "0abcc");
}

TEST_F(Template, CyclesThroughNamespacesAreFreed) {
  EXPECT_EQ(render("{% set n = namespace() %}{% set n.a = [n] %}{% macro m() %}{% endmacro %}{% set n.m = m %}ok"),
            "ok");
  EXPECT_EQ(render("{% set n = namespace() %}{% for i in range(9999) %}{% set m = namespace(p=n.p) %}"
                   "{% set n.p = m %}{% endfor %}ok"),
            "ok");
}

TEST_F(Template, InternalsAreOutOfReach) {
  for (const char* source :
       {"{{ ''.__class__.__mro__ }}", "{{ [].append(1) }}", "{{ {}.update({}) }}", "{{ namespace(__class__=1) }}",
        "{{ raise_exception.__globals__.x }}", "{{ ''['__class__'].x }}", "{{ ('' | attr('__class__')).x }}"}) {
    EXPECT_TRUE(render(source).starts_with("ERROR")) << source;
  }
}

TEST_F(Template, InvalidUtf8IsRefused) {
  EXPECT_TRUE(render("\xff").starts_with("ERROR"));
  ChatTemplateInput input;
  input.extra = {{"x", "\xc3"}};
  EXPECT_TRUE(render("{{ x }}", input).starts_with("ERROR"));
}

TEST(ParseMessages, AcceptsListsAndObjects) {
  const auto list = parse_messages(R"([{"role": "user", "content": "hi"}])");
  ASSERT_TRUE(list.has_value());
  EXPECT_EQ(list->messages.size(), 1u);
  EXPECT_FALSE(list->add_generation_prompt.has_value());
  const auto object = parse_messages(
      R"({"messages": [{"role": "assistant", "tool_calls": []}, {"role": "user", "content": [{"type": "text", "text": "x"}]}],
          "tools": [{"type": "function"}], "add_generation_prompt": true, "enable_thinking": false})");
  ASSERT_TRUE(object.has_value()) << object.error().text();
  EXPECT_EQ(object->tools.size(), 1u);
  EXPECT_EQ(object->add_generation_prompt, true);
  EXPECT_EQ(parse_messages(R"({"messages": [], "continue_final_message": true})")->continue_field, "content");
  EXPECT_EQ(parse_messages(R"({"messages": [], "continue_final_message": false})")->continue_field, "");
  EXPECT_EQ(parse_messages(R"({"messages": [], "continue_final_message": "thinking"})")->continue_field, "thinking");
  EXPECT_EQ(object->extra.dump(), R"({"enable_thinking":false})");
}

TEST(ParseMessages, SaysWhatIsWrongAndWhere) {
  const auto error = [](const std::string& json) {
    const auto result = parse_messages(json);
    return result ? std::string() : result.error().text();
  };
  EXPECT_EQ(error("3"), "messages: a list of messages or an object with 'messages' expected");
  EXPECT_EQ(error("[1]"), "messages[0]: an object expected, not number");
  EXPECT_EQ(error(R"([{"content": "x"}])"),
            "messages[0]: a string field 'role' expected, e.g. system, user, assistant or tool");
  EXPECT_EQ(error(R"([{"role": "user", "content": 3}])"),
            "messages[0].content: a string, null or a list of parts expected, not number");
  EXPECT_EQ(error(R"([{"role": "user", "content": [{}]}])"),
            "messages[0].content[0]: a string field 'type' expected, as in {\"type\": \"text\"}");
  EXPECT_EQ(error(R"([{"role": "user"}])"),
            "messages[0]: 'content' is missing (only messages with tool_calls need none)");
  EXPECT_EQ(error(R"({"messages": [], "continue_final_message": 3})"),
            "continue_final_message: true, false or the name of a field expected, not number");
  EXPECT_EQ(error(R"({"messages": [], "tools": 3})"), "tools: a list or null expected, not number");
  EXPECT_EQ(error(std::string(1000, '[')), "messages: nested deeper than 64");
  EXPECT_NE(error("[{]"), "");
  EXPECT_EQ(error("\"\xff\""), "messages: the text is not UTF-8");
}

}  // namespace
}  // namespace lamina::text
