// The routes that write, over a tiny model.
#include <cstring>

#include "run/log_probability.h"
#include "serve/routes.h"
#include "serve/served.h"

namespace lamina::serve {
namespace {

Json chat(const std::string& text) {
  return {{"model", "tiny"},
          {"messages", Json::array({{{"role", "user"}, {"content", text}}})},
          {"temperature", 0},
          {"ignore_eos", true},
          {"max_tokens", 12}};
}

Json complete(const Json& prompt) {
  return {{"model", "tiny"}, {"prompt", prompt}, {"temperature", 0}, {"ignore_eos", true}, {"max_tokens", 12}};
}

class Generation : public testing::Test {
 protected:
  core::ThreadPool pool_{1};  // not the one that the server computes on
  TestServer server_;

  std::string text_of(const Json& body) {
    const Json answer = server_.ask("/v1/chat/completions", body);
    return answer["choices"][0]["message"]["content"].get<std::string>();
  }
  /// Logits of every token of a sequence, straight from the model.
  std::vector<std::vector<float>> logits_of(const std::vector<int32_t>& tokens) {
    const auto vocabulary = static_cast<size_t>(server_.model().model->vocabulary());
    const auto own = open_model(pool_, {});
    std::vector<float> all(tokens.size() * vocabulary);
    const auto sequence = own->runner->open().value();
    for (size_t begin = 0; begin < tokens.size(); begin += 64) {
      std::vector<run::BatchRow> rows;
      for (size_t i = begin; i < std::min(tokens.size(), begin + 64); ++i)
        rows.push_back({.token = tokens[i], .sequence = sequence, .wants_logits = true});
      EXPECT_TRUE(own->runner->step(rows, std::span(all).subspan(begin * vocabulary)));
    }
    std::vector<std::vector<float>> logits;
    for (size_t i = 0; i < tokens.size(); ++i)
      logits.emplace_back(all.begin() + static_cast<ptrdiff_t>(i * vocabulary),
                          all.begin() + static_cast<ptrdiff_t>((i + 1) * vocabulary));
    return logits;
  }
  static double log_probability(const std::vector<float>& logits, int32_t token) {
    double value = 0;
    run::log_probabilities(logits, std::span(&token, 1), std::span(&value, 1));
    return value;
  }
};

TEST_F(Generation, AnswersAChat) {
  const Json answer = server_.ask("/v1/chat/completions", chat("Hello"));
  EXPECT_EQ(answer["object"], "chat.completion");
  EXPECT_EQ(answer["model"], "tiny");
  EXPECT_EQ(answer["choices"].size(), 1U);
  EXPECT_EQ(answer["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(answer["choices"][0]["message"]["role"], "assistant");
  EXPECT_EQ(answer["usage"]["completion_tokens"], 12);
  const Json rendered = server_.ask("/apply-template", {{"messages", chat("Hello")["messages"]}});
  EXPECT_EQ(rendered["prompt"], "<user>Hello<a>");
  EXPECT_EQ(answer["usage"]["prompt_tokens"], rendered["count"]);
  // The same conversation as plain text goes on in the same way.
  Json raw = complete(rendered["tokens"]);
  EXPECT_EQ(server_.ask("/v1/completions", raw)["choices"][0]["text"], answer["choices"][0]["message"]["content"]);
}

TEST_F(Generation, StreamsTheSameText) {
  Json body = chat("Hello");
  const std::string whole = text_of(body);
  body["stream"] = true;
  body["stream_options"] = {{"include_usage", true}};
  const HttpAnswer answer = server_.post("/v1/chat/completions", body);
  ASSERT_EQ(answer.status, 200);
  EXPECT_EQ(answer.headers.find("Content-Type")->second, "text/event-stream");
  const std::vector<Json> events = events_of(answer.text);
  std::string text;
  std::string finish;
  for (size_t i = 0; i + 1 < events.size(); ++i) {
    EXPECT_EQ(events[i]["object"], "chat.completion.chunk");
    EXPECT_EQ(events[i]["id"], events[0]["id"]);
    const Json& choice = events[i]["choices"][0];
    text += choice["delta"].value("content", "");
    if (!choice["finish_reason"].is_null()) finish = choice["finish_reason"];
  }
  EXPECT_EQ(events[0]["choices"][0]["delta"]["role"], "assistant");
  EXPECT_EQ(text, whole);
  EXPECT_EQ(finish, "length");
  EXPECT_TRUE(events.back()["choices"].empty());
  EXPECT_EQ(events.back()["usage"]["completion_tokens"], 12);
}

TEST_F(Generation, StopsAtStrings) {
  Json body = chat("Hello");
  const std::string whole = text_of(body);
  ASSERT_GT(whole.size(), 6U);
  const std::string stop = whole.substr(3, 2);
  body["stop"] = Json::array({stop});
  const Json answer = server_.ask("/v1/chat/completions", body);
  EXPECT_EQ(answer["choices"][0]["message"]["content"], whole.substr(0, whole.find(stop)));
  EXPECT_EQ(answer["choices"][0]["finish_reason"], "stop");
  body["stop"] = "";
  EXPECT_EQ(server_.refused(400, "/v1/chat/completions", body)["param"], "stop");
}

TEST_F(Generation, SeedsDecideWhatIsDrawn) {
  Json body = chat("Hello");
  body["temperature"] = 1.5;
  body["seed"] = 7;
  const std::string first = text_of(body);
  EXPECT_EQ(text_of(body), first);
  body["n"] = 3;
  const Json several = server_.ask("/v1/chat/completions", body);
  ASSERT_EQ(several["choices"].size(), 3U);
  EXPECT_EQ(several["choices"][0]["message"]["content"], first);
  EXPECT_NE(several["choices"][1]["message"]["content"], first);
  EXPECT_NE(several["choices"][1]["message"]["content"], several["choices"][2]["message"]["content"]);
  EXPECT_EQ(several["usage"]["completion_tokens"], 36);
  body["n"] = 1;
  body["seed"] = 8;
  EXPECT_NE(text_of(body), first);
}

TEST_F(Generation, BiasesCountAndAreChecked) {
  Json body = chat("Hello");
  body["logit_bias"] = {{"41", 100}};
  const int32_t token = 41;
  std::string wanted;
  for (int i = 0; i < 12; ++i) wanted += server_.model().tokenizer.piece(token);
  EXPECT_EQ(text_of(body), wanted);
  for (const Json& wrong : {Json{{"x", 1}}, Json{{"104", 1}}, Json{{"-1", 1}}, Json{{"1", 101}}, Json{{"1", "a"}}}) {
    body["logit_bias"] = wrong;
    EXPECT_EQ(server_.refused(400, "/v1/chat/completions", body)["param"], "logit_bias") << wrong;
  }
}

TEST_F(Generation, TellsLogProbabilitiesOfAnswers) {
  Json body = chat("Hello");
  body["logprobs"] = true;
  body["top_logprobs"] = 3;
  const Json answer = server_.ask("/v1/chat/completions", body);
  const Json content = answer["choices"][0]["logprobs"]["content"];
  ASSERT_EQ(content.size(), 12U);
  std::vector<int32_t> tokens = server_.ask("/apply-template", {{"messages", body["messages"]}})["tokens"];
  std::string text;
  for (const Json& entry : content) {
    const auto bytes = entry["bytes"].get<std::vector<unsigned char>>();
    text.append(bytes.begin(), bytes.end());
    ASSERT_EQ(entry["top_logprobs"].size(), 3U);
    EXPECT_EQ(entry["top_logprobs"][0]["logprob"], entry["logprob"]);  // greedy
    EXPECT_GE(entry["top_logprobs"][1]["logprob"], entry["top_logprobs"][2]["logprob"]);
    const auto logits = logits_of(tokens).back();
    const auto best = static_cast<int32_t>(std::ranges::max_element(logits) - logits.begin());
    EXPECT_EQ(server_.model().tokenizer.piece(best), std::string(bytes.begin(), bytes.end()));
    EXPECT_EQ(entry["logprob"].get<double>(), log_probability(logits, best));
    tokens.push_back(best);
  }
  EXPECT_EQ(text, answer["choices"][0]["message"]["content"].get<std::string>());
  body["logprobs"] = false;
  EXPECT_EQ(server_.refused(400, "/v1/chat/completions", body)["param"], "top_logprobs");
}

TEST_F(Generation, LogProbabilitiesOfACutAnswerAreThoseOfItsText) {
  Json body = chat("Hello");
  const std::string whole = text_of(body);
  body["logprobs"] = true;
  body["stop"] = whole.substr(4, 3);
  const Json answer = server_.ask("/v1/chat/completions", body)["choices"][0];
  std::string text;
  for (const Json& entry : answer["logprobs"]["content"]) text += entry["token"].get<std::string>();
  EXPECT_TRUE(text.starts_with(answer["message"]["content"].get<std::string>())) << text;
  EXPECT_LT(text.size(), whole.size());
}

TEST_F(Generation, EchoScoresThePrompt) {
  std::vector<int32_t> tokens;
  for (int i = 0; i < 70; ++i) tokens.push_back((i * 37 + 11) % 103);
  Json body = complete(tokens);
  body["max_tokens"] = 1;
  body["echo"] = true;
  body["logprobs"] = 1;
  const Json choice = server_.ask("/v1/completions", body)["choices"][0];
  const Json& lists = choice["logprobs"];
  ASSERT_EQ(lists["token_logprobs"].size(), 71U);
  EXPECT_TRUE(lists["token_logprobs"][0].is_null());
  EXPECT_TRUE(lists["top_logprobs"][0].is_null());
  const auto logits = logits_of(tokens);
  for (size_t i = 1; i < tokens.size(); ++i) {
    EXPECT_EQ(lists["token_logprobs"][i].get<double>(), log_probability(logits[i - 1], tokens[i])) << i;
    EXPECT_EQ(lists["top_logprobs"][i].size(), 1U);
  }
  EXPECT_EQ(lists["text_offset"][0], 0);
  EXPECT_EQ(choice["text"].get<std::string>().substr(0, 20),
            server_.model().tokenizer.decode(tokens, false).substr(0, 20));
  // Without a token to write the prompt is scored all the same.
  body["max_tokens"] = 0;
  const Json scored = server_.ask("/v1/completions", body)["choices"][0];
  ASSERT_EQ(scored["logprobs"]["token_logprobs"].size(), 70U);
  for (size_t i = 1; i < 70; ++i) EXPECT_EQ(scored["logprobs"]["token_logprobs"][i], lists["token_logprobs"][i]);
}

TEST(SeveralAnswers, ReadTheirPromptOnce) {
  TestServer server(ModelOptions{.parallel = 4, .max_rows = 32});
  const Json body{{"prompt", std::string(150, 'a')},
                  {"n", 4},
                  {"max_tokens", 3},
                  {"temperature", 1},
                  {"seed", 5},
                  {"ignore_eos", true}};
  const Json together = server.ask("/v1/completions", body);
  const auto prompt = together["usage"]["prompt_tokens"].get<int64_t>();
  EXPECT_LT(server.counts().prompt_tokens, 2 * prompt);
  TestServer other(ModelOptions{.parallel = 1, .max_rows = 32});
  const Json apart = other.ask("/v1/completions", body);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(together["choices"][i]["text"], apart["choices"][i]["text"]);
}

TEST_F(Generation, ManyPromptsAtOnce) {
  const Json one = server_.ask("/v1/completions", complete("cat sat"))["choices"][0];
  const Json tokens =
      server_.ask("/tokenize", {{"content", "the cat"}, {"add_special", true}, {"parse_special", true}})["tokens"];
  const Json two = server_.ask("/v1/completions", complete(tokens))["choices"][0];
  Json body = complete(Json::array({"cat sat", "the cat"}));
  body["n"] = 2;
  const Json choices = server_.ask("/v1/completions", body)["choices"];
  ASSERT_EQ(choices.size(), 4U);
  EXPECT_EQ(choices[0]["text"], one["text"]);
  EXPECT_EQ(choices[1]["text"], one["text"]);
  EXPECT_EQ(choices[2]["text"], two["text"]);
  body["stream"] = true;
  body["echo"] = true;
  std::vector<std::string> texts(4);
  for (const Json& event : events_of(server_.post("/v1/completions", body).text)) {
    const Json& choice = event["choices"][0];
    texts[choice["index"].get<size_t>()] += choice["text"].get<std::string>();
  }
  EXPECT_EQ(texts[0], "cat sat" + one["text"].get<std::string>());
  EXPECT_EQ(texts[3], "the cat" + two["text"].get<std::string>());
}

TEST_F(Generation, RefusesWhatItCannotDo) {
  const auto field = [&](const std::string& name, const Json& value) {
    Json body = chat("Hello");
    body[name] = value;
    return server_.refused(400, "/v1/chat/completions", body).value("param", "");
  };
  EXPECT_EQ(field("functions", Json::array()), "functions");
  EXPECT_EQ(field("temperature", 2.5), "temperature");
  EXPECT_EQ(field("temperature", "warm"), "temperature");
  EXPECT_EQ(field("n", 0), "n");
  EXPECT_EQ(field("n", 17), "n");
  EXPECT_EQ(field("max_completion_tokens", 5), "max_completion_tokens");
  EXPECT_EQ(field("stream_options", Json::object()), "stream_options");
  EXPECT_EQ(field("messages", Json::array()), "messages");
  EXPECT_EQ(field("messages", Json::array({1})), "messages[0]");
  EXPECT_EQ(field("messages", Json::array({{{"role", "user"}}})), "messages[0]");
  EXPECT_EQ(field("messages", Json::array({{{"role", "user"}, {"content", "a"}, {"mood", "b"}}})), "messages[0].mood");
  const Json image = Json::array({{{"type", "image_url"}, {"image_url", {{"url", "x"}}}}});
  EXPECT_EQ(field("messages", Json::array({{{"role", "user"}, {"content", image}}})), "messages[0].content[0].type");
  Json body = chat("Hello");
  body["model"] = "other";
  EXPECT_EQ(server_.refused(404, "/v1/chat/completions", body)["code"], "model_not_found");
  Json prompt = complete("x");
  prompt["suffix"] = "y";
  EXPECT_EQ(server_.refused(400, "/v1/completions", prompt)["param"], "suffix");
  for (const Json& wrong : {Json(""), Json::array(), Json::array({104}), Json::array({-1})}) {
    prompt = complete(wrong);
    EXPECT_EQ(server_.refused(400, "/v1/completions", prompt)["param"], "prompt") << wrong;
  }
}

TEST_F(Generation, AContextThatIsTooSmallIsNamedWithBothNumbers) {
  const Json tokens = std::vector<int32_t>(250, 41);
  Json body = complete(tokens);
  body["max_tokens"] = 7;
  Json error = server_.refused(400, "/v1/completions", body);
  EXPECT_EQ(error["code"], "context_length_exceeded");
  for (const char* number : {"250", "7", "256"})
    EXPECT_NE(error["message"].get<std::string>().find(number), std::string::npos);
  body["max_tokens"] = 6;
  EXPECT_EQ(server_.ask("/v1/completions", body)["choices"][0]["finish_reason"], "length");
  Json long_chat = chat(std::string(400, 'x'));
  long_chat.erase("max_tokens");
  EXPECT_EQ(server_.refused(400, "/v1/chat/completions", long_chat)["code"], "context_length_exceeded");
  // Without a limit an answer may fill the context, and says that it did.
  long_chat = chat("Hello");
  long_chat.erase("max_tokens");
  const Json full = server_.ask("/v1/chat/completions", long_chat);
  EXPECT_EQ(full["usage"]["total_tokens"], 256);
  EXPECT_EQ(full["choices"][0]["finish_reason"], "length");
}

TEST_F(Generation, ContinuesAnAssistantsMessage) {
  const Json messages =
      Json::array({{{"role", "user"}, {"content", "Hi"}}, {{"role", "assistant"}, {"content", "the c"}}});
  const Json rendered = server_.ask("/apply-template", {{"messages", messages}, {"continue_final_message", true}});
  EXPECT_EQ(rendered["prompt"], "<user>Hi<assistant>the c");
  Json body = chat("");
  body["messages"] = messages;
  body["continue_final_message"] = true;
  const Json answer = server_.ask("/v1/chat/completions", body);
  EXPECT_EQ(answer["choices"][0]["message"]["content"],
            server_.ask("/v1/completions", complete(rendered["tokens"]))["choices"][0]["text"]);
  body["add_generation_prompt"] = true;
  EXPECT_EQ(server_.refused(400, "/v1/chat/completions", body)["param"], "continue_final_message");
}

TEST_F(Generation, AnswersAnthropicsClients) {
  const Json conversation{{"model", "tiny"}, {"messages", chat("Hello")["messages"]}, {"system", "Be brief"}};
  Json body = conversation;
  body["max_tokens"] = 12;
  body["temperature"] = 0;
  body["stop_sequences"] = Json::array({"never written"});
  const Json answer = server_.ask("/v1/messages", body);
  EXPECT_EQ(answer["type"], "message");
  EXPECT_EQ(answer["content"][0]["type"], "text");
  EXPECT_EQ(server_.ask("/v1/messages/count_tokens", conversation)["input_tokens"], answer["usage"]["input_tokens"]);
  Json same = chat("");
  same["messages"] = Json::array({{{"role", "system"}, {"content", "Be brief"}}, body["messages"][0]});
  same.erase("ignore_eos");
  const std::string whole = text_of(same);
  EXPECT_EQ(answer["content"][0]["text"], whole);
  const std::string stop = whole.substr(2, 2);
  body["stop_sequences"] = Json::array({"never written", stop});
  const Json cut = server_.ask("/v1/messages", body);
  EXPECT_EQ(cut["stop_reason"], "stop_sequence");
  EXPECT_EQ(cut["stop_sequence"], stop);
  EXPECT_EQ(cut["content"][0]["text"], whole.substr(0, whole.find(stop)));
  body.erase("stop_sequences");
  body["stream"] = true;
  std::string text;
  std::string kinds;
  std::istringstream lines(server_.post("/v1/messages", body).text);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("data: ")) continue;
    const Json event = Json::parse(line.substr(6));
    if (event["type"] == "content_block_delta") {
      text += event["delta"]["text"].get<std::string>();
    } else {
      kinds += event["type"].get<std::string>() + " ";
    }
  }
  EXPECT_EQ(text, whole);
  EXPECT_EQ(kinds, "message_start content_block_start content_block_stop message_delta message_stop ");
  body.erase("max_tokens");
  EXPECT_EQ(server_.refused(400, "/v1/messages", body)["param"], "max_tokens");
}

TEST_F(Generation, TokensThereAndBack) {
  const Json answer = server_.ask("/tokenize", {{"content", "Hello the cat"}, {"with_pieces", true}});
  EXPECT_EQ(answer["count"], answer["tokens"].size());
  std::string text;
  for (const Json& piece : answer["pieces"]) text += piece.get<std::string>();
  EXPECT_EQ(text, "Hello the cat");
  EXPECT_EQ(server_.ask("/detokenize", {{"tokens", answer["tokens"]}})["content"], "Hello the cat");
  EXPECT_EQ(server_.refused(400, "/detokenize", {{"tokens", Json::array({104})}})["param"], "tokens");
}

TEST_F(Generation, DescribesItself) {
  const Json page = server_.get("/openapi.json").json();
  for (const Route& route : routes()) {
    ASSERT_TRUE(page["paths"].contains(route.path)) << route.path;
    if (route.fields == nullptr) continue;
    const Json& schema = page["paths"][route.path]["post"]["requestBody"]["content"]["application/json"]["schema"];
    for (const Field& field : route.fields()) EXPECT_TRUE(schema["properties"].contains(field.name)) << field.name;
  }
  const Json models = server_.get("/v1/models").json();
  EXPECT_EQ(models["data"][0]["id"], "tiny");
  EXPECT_EQ(models["data"][0]["max_model_len"], 256);
  const HttpAnswer home = server_.get("/");
  EXPECT_EQ(home.status, 200);
  EXPECT_TRUE(home.headers.find("Content-Type")->second.starts_with("text/html"));
  EXPECT_NE(home.headers.find("Content-Security-Policy"), home.headers.end());
  EXPECT_EQ(server_.get("/health").status, 200);
  EXPECT_EQ(server_.get("/health/ready").status, 200);
  server_.ask("/v1/completions", complete("cat"));
  const std::string metrics = server_.get("/metrics").text;
  EXPECT_NE(metrics.find("lamina_generated_tokens_total{model=\"tiny\"} 12\n"), std::string::npos) << metrics;
  EXPECT_NE(metrics.find("lamina_http_requests_total{path=\"/v1/completions\",status=\"200\"} 1\n"), std::string::npos);
}

TEST(GenerationWithoutTemplate, SaysSo) {
  TestServer server(ModelOptions{.chat_template = ""});
  Json error = server.refused(400, "/v1/chat/completions", chat("Hello"));
  EXPECT_NE(error["message"].get<std::string>().find("no chat template"), std::string::npos);
}

}  // namespace
}  // namespace lamina::serve
