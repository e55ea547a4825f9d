// Answers that must keep to something, tools, thoughts and begun answers, over a tiny model with random weights.
#include <set>
#include <sstream>

#include "serve/routes.h"
#include "serve/served.h"

namespace lamina::serve {
namespace {

/// Shows tools, calls and results as models of the Hermes family are shown them, with thoughts.
const char* const kToolTemplate =
    "{% if tools %}<tools>{% for t in tools %}{{ t | tojson }}{% endfor %}</tools>{% endif %}"
    "{% for m in messages %}<{{ m.role }}>{{ m.content or '' }}{% if m.tool_calls %}{% for c in m.tool_calls "
    "%}<tool_call>\n"
    "{{ {'name': c.function.name, 'arguments': c.function.arguments} | tojson }}\n</tool_call>{% endfor %}{% endif "
    "%}{% endfor %}"
    "{% if add_generation_prompt %}<a>{% if enable_thinking is defined %}<think>\n{% if not enable_thinking %}</think>"
    "{% endif %}{% endif %}{% endif %}";

const Json kSchema =
    Json::parse(R"({"type": "object", "additionalProperties": false, "required": ["n", "kind"], "properties": {
    "n": {"type": "integer", "minimum": 1, "maximum": 30}, "kind": {"enum": ["x", "y"]}, "t": {"type": "string", "maxLength": 3}}})");

Json tool(const std::string& name) {
  return {{"type", "function"}, {"function", {{"name", name}, {"description", "does it"}, {"parameters", kSchema}}}};
}

Json chat(const Json& more) {
  Json body{{"model", "tiny"},
            {"messages", Json::array({{{"role", "user"}, {"content", "Hello"}}})},
            {"temperature", 1.2},
            {"max_tokens", 120},
            {"chat_template_kwargs", {{"enable_thinking", false}}},
            {"seed", 1}};
  body.update(more);
  return body;
}

bool keeps_to_schema(const Json& value) {
  if (!value.is_object() || !value.contains("n") || !value.contains("kind")) return false;
  for (const auto& [name, one] : value.items()) {
    if (name != "n" && name != "kind" && name != "t") return false;
  }
  return value["n"].is_number_integer() && value["n"] >= 1 && value["n"] <= 30 &&
         (value["kind"] == "x" || value["kind"] == "y");
}

class Structured : public testing::Test {
 protected:
  TestServer server_{ModelOptions{.context = 1024, .chat_template = kToolTemplate}};

  Json choice(const Json& more) { return server_.ask("/v1/chat/completions", chat(more))["choices"][0]; }
  Json error(const Json& more) { return server_.refused(400, "/v1/chat/completions", chat(more)); }
};

Json schema_format(const Json& schema) {
  return {{"type", "json_schema"}, {"json_schema", {{"name", "s"}, {"schema", schema}, {"strict", true}}}};
}

TEST_F(Structured, GuessesChangeNoAnswer) {
  const auto told = [](const Json& choice) {
    return Json{choice["message"], choice["finish_reason"], choice["logprobs"]};
  };
  for (Json more : {Json{{"response_format", schema_format(kSchema)}}, Json{{"stop", {"a", "e"}}},
                    Json{{"logprobs", true}, {"top_logprobs", 2}, {"temperature", 0}},
                    Json{{"tools", {tool("look")}}, {"tool_choice", "required"}}}) {
    more["seed"] = 3;
    const Json plain = told(choice(more));
    for (const char* recipe : {"draft:ngram(match=1,when=always)", "draft:route(skip=1,confidence=0,when=always)"}) {
      more["recipe"] = recipe;
      Json guessed = told(choice(more));
      if (guessed[0].contains("tool_calls")) {
        for (const Json& message : {plain[0], guessed[0]})
          EXPECT_EQ(message["tool_calls"][0]["function"], plain[0]["tool_calls"][0]["function"]);
        continue;  // their names are drawn anew
      }
      EXPECT_EQ(guessed, plain) << more;
    }
  }
  const std::string metrics = server_.get("/metrics").text;
  EXPECT_NE(metrics.find("lamina_draft_tokens_total{model=\"tiny\"}"), std::string::npos) << metrics;
  for (const auto& [recipe, word] : {std::pair{"draft:model(\"x\")", "loaded with the server"},
                                     {"route:first(\"x\")", "a router is loaded with the server"},
                                     {"draft:route(skip=9)", "the model has 2 layers"},
                                     {"draft:route", "leaves nothing out"},
                                     {"draft:ngram(tokens=0)", "1 to 64"}}) {
    const Json refused = error({{"recipe", recipe}});
    EXPECT_EQ(refused["param"], "recipe");
    EXPECT_NE(refused["message"].get<std::string>().find(word), std::string::npos) << refused;
  }
}

TEST_F(Structured, JsonKeepsToItsSchema) {
  for (int seed = 0; seed < 12; ++seed) {
    const Json one = choice({{"seed", seed}, {"response_format", schema_format(kSchema)}});
    ASSERT_EQ(one["finish_reason"], "stop");
    EXPECT_TRUE(keeps_to_schema(Json::parse(one["message"]["content"].get<std::string>())))
        << one["message"]["content"];
  }
  const Json several =
      server_.ask("/v1/chat/completions", chat({{"n", 4}, {"response_format", schema_format(kSchema)}}));
  for (const Json& one : several["choices"])
    EXPECT_TRUE(keeps_to_schema(Json::parse(one["message"]["content"].get<std::string>())));
}

TEST_F(Structured, WhatIsAskedForIsKeptTo) {
  const auto content = [&](const Json& more) { return choice(more)["message"]["content"].get<std::string>(); };
  EXPECT_EQ(content({{"structured_outputs", {{"choice", {"alpha", "beta"}}}}}).find_first_of("ab"), 0U);
  const std::string digits = content({{"structured_outputs", {{"regex", "[0-9]{3}-[0-9]{2}"}}}});
  EXPECT_EQ(digits.size(), 6U);
  EXPECT_EQ(digits[3], '-');
  EXPECT_EQ(content({{"structured_outputs", {{"grammar", "root ::= \"<\" [xy]{4} \">\""}}}}).size(), 6U);
  EXPECT_TRUE(keeps_to_schema(Json::parse(content({{"structured_outputs", {{"json", kSchema}}}}))));
  EXPECT_TRUE(keeps_to_schema(Json::parse(content({{"structured_outputs", {{"json", kSchema.dump()}}}}))));
  const Json done = server_.ask(
      "/v1/completions",
      {{"prompt", "x"}, {"temperature", 1}, {"max_tokens", 60}, {"structured_outputs", {{"regex", "(ab){2}"}}}});
  EXPECT_EQ(done["choices"][0]["text"], "abab");
}

TEST_F(Structured, LimitsStillHold) {
  const Json format = schema_format(kSchema);
  EXPECT_EQ(choice({{"response_format", format}, {"max_tokens", 2}})["finish_reason"], "length");
  // The end is not the model's own, so going on after that changes nothing.
  const Json one = choice({{"response_format", format}, {"ignore_eos", true}});
  EXPECT_EQ(one["finish_reason"], "stop");
  EXPECT_TRUE(keeps_to_schema(Json::parse(one["message"]["content"].get<std::string>())));
  const Json scored = choice({{"response_format", format}, {"logprobs", true}, {"top_logprobs", 2}});
  std::string text;
  for (const Json& token : scored["logprobs"]["content"]) text += token["token"].get<std::string>();
  EXPECT_EQ(text, scored["message"]["content"].get<std::string>());
  const Json stopped = choice({{"response_format", format}, {"stop", {"\"n\""}}});
  EXPECT_EQ(stopped["finish_reason"], "stop");
  EXPECT_EQ(stopped["message"]["content"].get<std::string>().find("\"n\""), std::string::npos);
}

TEST_F(Structured, OthersChangeNothing) {
  const Json body = chat({{"response_format", schema_format(kSchema)}, {"seed", 5}});
  const std::string alone = server_.post("/v1/chat/completions", body).json()["choices"][0].dump();
  std::vector<std::thread> threads;
  std::vector<std::string> answers(6);
  for (size_t i = 0; i < answers.size(); ++i) {
    threads.emplace_back([&, i] {
      Json own = body;
      if (i % 2 == 1) own["response_format"] = {{"type", "text"}};
      answers[i] = server_.post("/v1/chat/completions", own).json()["choices"][0].dump();
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < answers.size(); i += 2) EXPECT_EQ(answers[i], alone);
}

TEST_F(Structured, RefusesWithTheirPlaces) {
  EXPECT_EQ(error({{"response_format",
                    schema_format({{"type", "object"}, {"properties", {{"a", {{"not", Json::object()}}}}}})}})["param"],
            "response_format.json_schema.schema#/properties/a/not");
  EXPECT_EQ(error({{"response_format", {{"type", "xml"}}}})["param"], "response_format.type");
  EXPECT_EQ(error({{"response_format", {{"type", "json_schema"}}}})["param"], "response_format.json_schema");
  EXPECT_EQ(error({{"structured_outputs", {{"regex", "(?=a)"}}}})["param"], "structured_outputs.regex");
  EXPECT_EQ(error({{"structured_outputs", {{"grammar", "root ::= x"}}}})["param"], "structured_outputs.grammar");
  EXPECT_EQ(error({{"structured_outputs", {{"regex", "a"}, {"choice", {"b"}}}}})["param"], "structured_outputs");
  EXPECT_EQ(error({{"structured_outputs", {{"regex", "a"}}}, {"response_format", {{"type", "json_object"}}}})["param"],
            "structured_outputs");
  EXPECT_EQ(error({{"tools", {tool("f"), tool("f")}}})["param"], "tools");
  EXPECT_EQ(error({{"tool_choice", "required"}})["param"], "tool_choice");
  EXPECT_EQ(
      error({{"tools", {tool("f")}}, {"tool_choice", {{"type", "function"}, {"function", {{"name", "g"}}}}}})["param"],
      "tool_choice");
  Json bad = tool("f");
  bad["function"]["parameters"] = {{"type", "object"}, {"if", Json::object()}};
  EXPECT_EQ(error({{"tools", {bad}}, {"tool_choice", "required"}})["param"], "tools[0].function.parameters#/if");
}

TEST_F(Structured, CallsAreMadeWhereTheyMust) {
  for (int seed = 0; seed < 6; ++seed) {
    const Json one = choice({{"seed", seed},
                             {"tools", {tool("get_x"), tool("get_y")}},
                             {"tool_choice", "required"},
                             {"parallel_tool_calls", false},
                             {"max_tokens", 200}});
    ASSERT_EQ(one["finish_reason"], "tool_calls") << one.dump();
    EXPECT_TRUE(one["message"]["content"].is_null());
    ASSERT_EQ(one["message"]["tool_calls"].size(), 1U);
    const Json& call = one["message"]["tool_calls"][0];
    EXPECT_EQ(call["type"], "function");
    EXPECT_EQ(call["id"].get<std::string>().size(), 9U);
    EXPECT_TRUE(call["function"]["name"] == "get_x" || call["function"]["name"] == "get_y");
    EXPECT_TRUE(keeps_to_schema(Json::parse(call["function"]["arguments"].get<std::string>())));
  }
  const Json named = choice({{"tools", {tool("get_x"), tool("get_y")}},
                             {"max_tokens", 200},
                             {"tool_choice", {{"type", "function"}, {"function", {{"name", "get_y"}}}}}});
  EXPECT_EQ(named["message"]["tool_calls"][0]["function"]["name"], "get_y");
}

TEST_F(Structured, CallsAreStreamed) {
  Json body = chat(
      {{"tools", {tool("get_x")}}, {"tool_choice", "required"}, {"parallel_tool_calls", false}, {"max_tokens", 200}});
  const Json whole = server_.ask("/v1/chat/completions", body)["choices"][0]["message"]["tool_calls"][0];
  body["stream"] = true;
  std::string arguments;
  std::string finish;
  int begun = 0;
  for (const Json& event : events_of(server_.post("/v1/chat/completions", body).text)) {
    const Json& one = event["choices"][0];
    if (!one["finish_reason"].is_null()) finish = one["finish_reason"];
    if (!one["delta"].contains("tool_calls")) continue;
    const Json& call = one["delta"]["tool_calls"][0];
    EXPECT_EQ(call["index"], 0);
    if (call.contains("id")) {
      ++begun;
      EXPECT_EQ(call["function"]["name"], "get_x");
    }
    arguments += call["function"]["arguments"].get<std::string>();
  }
  EXPECT_EQ(begun, 1);
  EXPECT_EQ(finish, "tool_calls");
  EXPECT_EQ(arguments, whole["function"]["arguments"].get<std::string>());
}

/// Calls that must be made, of models whose templates show that form.
void expect_forced_call(const std::string& marks) {
  TestServer server(ModelOptions{
      .context = 1024,
      .chat_template =
          "{#" + marks +
          "#}{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}{{ m.content }}{{ m.tool_calls "
          "}}{% endfor %}<a>"});
  for (int seed = 0; seed < 4; ++seed) {
    const Json body{{"messages", Json::array({{{"role", "user"}, {"content", "Hi"}}})},
                    {"tools",
                     {{{"type", "function"},
                       {"function",
                        {{"name", "get_x"},
                         {"parameters", Json::parse(R"({"type": "object", "required": ["kind", "n"], "properties": {
                            "kind": {"type": "string", "enum": ["x", "y"]}, "n": {"type": "integer", "minimum": 1, "maximum": 30}}})")}}}}}},
                    {"tool_choice", "required"},
                    {"parallel_tool_calls", false},
                    {"temperature", 1},
                    {"seed", seed},
                    {"max_tokens", 200}};
    const Json one = server.ask("/v1/chat/completions", body)["choices"][0];
    ASSERT_TRUE(one["message"].contains("tool_calls")) << one.dump();
    const Json& call = one["message"]["tool_calls"][0]["function"];
    EXPECT_EQ(call["name"], "get_x");
    EXPECT_TRUE(keeps_to_schema(Json::parse(call["arguments"].get<std::string>()))) << call.dump();
  }
}

TEST(ToolForms, ForcedCallsKeepToTheirSchema) {
  expect_forced_call("<function= <parameter= tools tool_calls");
  expect_forced_call("<arg_key> <arg_value> tools tool_calls");
}

/// The template without thoughts, which a model of random weights does not end.
std::string template_without_thoughts() {
  const std::string text = kToolTemplate;
  return text.substr(0, text.find("{% if enable_thinking")) + "{% endif %}";
}

Json flat_tool(const std::string& name) {
  return {{"type", "function"}, {"name", name}, {"parameters", kSchema}, {"strict", true}};
}

class ResponsesWithTools : public testing::Test {
 protected:
  TestServer server_{ModelOptions{.context = 1024, .chat_template = template_without_thoughts()}};

  static Json body(const Json& more) {
    Json out{{"input", "Hello"}, {"temperature", 1.2}, {"seed", 3}, {"max_output_tokens", 200}};
    out.update(more);
    return out;
  }
  Json calling() const {
    return body({{"tools", {flat_tool("get_x")}}, {"tool_choice", "required"}, {"parallel_tool_calls", false}});
  }
};

TEST_F(ResponsesWithTools, CallsAndResultsGoOn) {
  const Json first = server_.ask("/v1/responses", calling());
  ASSERT_EQ(first["output"].size(), 1U) << first.dump();
  const Json call = first["output"][0];
  EXPECT_EQ(call["type"], "function_call");
  EXPECT_EQ(call["status"], "completed");
  EXPECT_EQ(call["name"], "get_x");
  EXPECT_TRUE(keeps_to_schema(Json::parse(call["arguments"].get<std::string>())));
  EXPECT_EQ(first["tools"], calling()["tools"]);
  const Json result{{"type", "function_call_output"}, {"call_id", call["call_id"]}, {"output", "42"}};
  const Json kept = server_.ask("/v1/responses", body({{"previous_response_id", first["id"]},
                                                       {"input", Json::array({result})},
                                                       {"max_output_tokens", 4},
                                                       {"temperature", 0}}));
  const Json said{{"role", "user"}, {"content", "Hello"}};
  const Json items =
      server_.ask("/v1/responses",
                  body({{"input", Json::array({said, call, result})}, {"max_output_tokens", 4}, {"temperature", 0}}));
  EXPECT_EQ(items["output"][0]["content"], kept["output"][0]["content"]);
  EXPECT_EQ(items["usage"]["input_tokens"], kept["usage"]["input_tokens"]);
  const Json messages = Json::array(
      {said,
       {{"role", "assistant"},
        {"tool_calls", {{{"id", "1"}, {"function", {{"name", "get_x"}, {"arguments", call["arguments"]}}}}}}},
       {{"role", "tool"}, {"tool_call_id", "1"}, {"content", "42"}}});
  const Json told =
      server_.ask("/v1/chat/completions", {{"messages", messages}, {"max_tokens", 4}, {"temperature", 0}});
  EXPECT_EQ(told["usage"]["prompt_tokens"], items["usage"]["input_tokens"]);
  EXPECT_EQ(told["choices"][0]["message"]["content"], items["output"][0]["content"][0]["text"]);
}

TEST_F(ResponsesWithTools, CallsAreStreamed) {
  Json asked = calling();
  const Json whole = server_.ask("/v1/responses", asked)["output"][0];
  asked["stream"] = true;
  std::vector<std::string> kinds;
  std::string arguments;
  Json last;
  std::istringstream lines(server_.post("/v1/responses", asked).text);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("data: ")) continue;
    const Json event = Json::parse(line.substr(6));
    const std::string type = event["type"];
    if (type == "response.function_call_arguments.delta") arguments += event["delta"].get<std::string>();
    if (kinds.empty() || kinds.back() != type) kinds.push_back(type);
    last = event;
  }
  EXPECT_EQ(kinds,
            (std::vector<std::string>{"response.created", "response.in_progress", "response.output_item.added",
                                      "response.function_call_arguments.delta", "response.function_call_arguments.done",
                                      "response.output_item.done", "response.completed"}));
  EXPECT_EQ(arguments, whole["arguments"].get<std::string>());
  EXPECT_EQ(last["response"]["output"][0]["arguments"], arguments);
}

TEST_F(ResponsesWithTools, TextKeepsToItsFormat) {
  const Json format{{"type", "json_schema"}, {"name", "s"}, {"schema", kSchema}, {"strict", true}};
  const Json told = server_.ask("/v1/responses", body({{"text", {{"format", format}}}}));
  EXPECT_TRUE(keeps_to_schema(Json::parse(told["output"][0]["content"][0]["text"].get<std::string>())));
  EXPECT_EQ(told["text"]["format"], format);
}

TEST_F(ResponsesWithTools, WhatIsNoneIsRefused) {
  const auto param = [&](const Json& more) { return server_.refused(400, "/v1/responses", body(more))["param"]; };
  EXPECT_EQ(param({{"tools", {{{"type", "web_search"}}}}}), "tools[0].type");
  EXPECT_EQ(param({{"tools", {{{"type", "function"}}}}}), "tools[0].name");
  EXPECT_EQ(param({{"input", {{{"type", "computer_call"}}}}}), "input[0].type");
  EXPECT_EQ(param({{"input", {{{"type", "function_call_output"}, {"output", "1"}}}}}), "input[0].call_id");
  EXPECT_EQ(param({{"text", {{"format", {{"type", "json_schema"}}}}}}), "text.format.schema");
  EXPECT_EQ(param({{"tool_choice", "required"}}), "tool_choice");
}

TEST_F(Structured, TemplatesAreShownToolsCallsAndResults) {
  Json messages = Json::array(
      {{{"role", "user"}, {"content", "Hi"}},
       {{"role", "assistant"},
        {"content", nullptr},
        {"tool_calls",
         {{{"id", "123456789"}, {"type", "function"}, {"function", {{"name", "f"}, {"arguments", "{\"n\": 1}"}}}}}}},
       {{"role", "tool"}, {"tool_call_id", "123456789"}, {"content", "42"}}});
  const Json shown = server_.ask("/apply-template", {{"messages", messages}, {"tools", {tool("f")}}});
  const std::string text = shown["prompt"];
  EXPECT_NE(text.find("<tools>{\"type\": \"function\""), std::string::npos) << text;
  EXPECT_NE(text.find("<tool_call>\n{\"name\": \"f\", \"arguments\": {\"n\": 1}}\n</tool_call><tool>42<a>"),
            std::string::npos)
      << text;
  const Json hidden =
      server_.ask("/apply-template", {{"messages", messages}, {"tools", {tool("f")}}, {"tool_choice", "none"}});
  EXPECT_EQ(hidden["prompt"].get<std::string>().find("<tools>"), std::string::npos);
  messages[1]["tool_calls"][0]["function"]["arguments"] = "{broken";
  EXPECT_EQ(server_.refused(400, "/apply-template", {{"messages", messages}})["param"], "messages[1].tool_calls[0]");
}

TEST(GenericTools, AreDescribedToModelsWithoutAForm) {
  TestServer server(ModelOptions{.context = 1024});
  const Json messages = Json::array(
      {{{"role", "user"}, {"content", "Hi"}},
       {{"role", "assistant"}, {"tool_calls", {{{"id", "1"}, {"function", {{"name", "f"}, {"arguments", "{}"}}}}}}},
       {{"role", "tool"}, {"tool_call_id", "1"}, {"content", "42"}}});
  const std::string text = server.ask("/apply-template", {{"messages", messages}, {"tools", {tool("f")}}})["prompt"];
  EXPECT_TRUE(text.starts_with("<system>")) << text;
  EXPECT_NE(text.find("\"name\":\"f\""), std::string::npos) << text;
  EXPECT_NE(text.find("<tool_response>\n42\n</tool_response>"), std::string::npos) << text;
  const Json one = server.ask("/v1/chat/completions", {{"messages", messages},
                                                       {"tools", {tool("f")}},
                                                       {"tool_choice", "required"},
                                                       {"max_tokens", 100},
                                                       {"temperature", 1},
                                                       {"seed", 2},
                                                       {"parallel_tool_calls", false},
                                                       {"structured_outputs", nullptr}});
  EXPECT_EQ(one["choices"][0]["message"]["tool_calls"][0]["function"]["name"], "f");
}

TEST_F(Structured, ThoughtsComeApart) {
  // A rule holds behind the thoughts, which a model of random weights does not end.
  Json body = chat({{"structured_outputs", {{"regex", "ab"}}},
                    {"max_tokens", 30},
                    {"chat_template_kwargs", {{"enable_thinking", true}}}});
  const Json one = server_.ask("/v1/chat/completions", body)["choices"][0];
  EXPECT_EQ(one["finish_reason"], "length");
  EXPECT_EQ(one["message"]["content"], "");
  const std::string thoughts = one["message"]["reasoning_content"];
  EXPECT_GT(thoughts.size(), 10U);
  EXPECT_EQ(one["message"]["reasoning"], thoughts);
  body["stream"] = true;
  std::string streamed;
  for (const Json& event : events_of(server_.post("/v1/chat/completions", body).text))
    streamed += event["choices"][0]["delta"].value("reasoning_content", "");
  EXPECT_EQ(streamed, thoughts);
  body["stream"] = false;
  body["separate_reasoning"] = false;
  EXPECT_FALSE(server_.ask("/v1/chat/completions", body)["choices"][0]["message"].contains("reasoning_content"));
  EXPECT_EQ(choice({{"structured_outputs", {{"regex", "ab"}}}})["message"]["content"], "ab");
}

TEST_F(Structured, ABegunAnswerGoesOn) {
  Json body =
      chat({{"messages", {{{"role", "user"}, {"content", "Hi"}}, {{"role", "assistant"}, {"content", "{\"n\":"}}}},
            {"add_generation_prompt", false},
            {"continue_final_message", true},
            {"structured_outputs", {{"regex", " 7\\}"}}}});
  const Json answer = server_.ask("/v1/chat/completions", body)["choices"][0];
  EXPECT_EQ(answer["message"]["content"], " 7}") << answer.dump();
}

Json block_tool() {
  return {{"name", "get_x"}, {"description", "does it"}, {"input_schema", kSchema}};
}

TEST_F(Structured, BlocksCallTools) {
  Json body{
      {"model", "tiny"},
      {"max_tokens", 200},
      {"messages",
       {{{"role", "user"}, {"content", "Hi"}},
        {{"role", "assistant"},
         {"content",
          {{{"type", "text"}, {"text", "I look."}},
           {{"type", "tool_use"}, {"id", "toolu_1"}, {"name", "get_x"}, {"input", {{"n", 1}}}}}}},
        {{"role", "user"}, {"content", {{{"type", "tool_result"}, {"tool_use_id", "toolu_1"}, {"content", "42"}}}}}}},
      {"tools", {block_tool()}},
      {"thinking", {{"type", "disabled"}}},
      {"tool_choice", {{"type", "any"}, {"disable_parallel_tool_use", true}}}};
  const Json answer = server_.ask("/v1/messages", body);
  EXPECT_EQ(answer["stop_reason"], "tool_use") << answer.dump();
  const Json& block = answer["content"].back();
  EXPECT_EQ(block["type"], "tool_use");
  EXPECT_EQ(block["name"], "get_x");
  EXPECT_TRUE(keeps_to_schema(block["input"]));
  body["stream"] = true;
  const HttpAnswer streamed = server_.post("/v1/messages", body);
  EXPECT_NE(streamed.text.find("\"type\":\"tool_use\""), std::string::npos);
  EXPECT_NE(streamed.text.find("input_json_delta"), std::string::npos);
  EXPECT_NE(streamed.text.find("\"stop_reason\":\"tool_use\""), std::string::npos);
  EXPECT_GT(server_.ask("/v1/messages/count_tokens",
                        {{"model", "tiny"}, {"messages", body["messages"]}, {"tools", body["tools"]}})["input_tokens"],
            20);
  body["stream"] = false;
  body["messages"][2]["content"][0] = {{"type", "image"}, {"source", Json::object()}};
  EXPECT_EQ(server_.refused(400, "/v1/messages", body)["param"], "messages[2].content[0]");
}

TEST_F(Structured, BlocksGoOnWithABegunAnswer) {
  const Json messages{{{"role", "user"}, {"content", "Hi"}}, {{"role", "assistant"}, {"content", "I say"}}};
  const Json count = server_.ask("/v1/messages/count_tokens", {{"model", "tiny"}, {"messages", messages}});
  const Json rendered = server_.ask(
      "/apply-template", {{"messages", messages}, {"add_generation_prompt", false}, {"continue_final_message", true}});
  EXPECT_EQ(count["input_tokens"], rendered["count"]);
  EXPECT_TRUE(rendered["prompt"].get<std::string>().ends_with("I say"));
}

}  // namespace
}  // namespace lamina::serve
