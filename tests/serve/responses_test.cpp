// What /v1/responses keeps, how vectors are written, which tokens were cached, and what /v1/layers tells.
#include "serve/layer_watch.h"
#include "serve/response_items.h"
#include "serve/response_store.h"
#include "serve/routes.h"
#include "serve/served.h"
#include "serve/vector_codes.h"

namespace lamina::serve {
namespace {

KeptResponse kept(uint64_t tenant, const std::string& text) {
  return {.tenant = tenant, .response = {{"text", text}}, .messages = Json::array()};
}

TEST(ResponseStore, KeepsTheLastUsedWithinItsLimits) {
  ResponseStore store({.count = 2, .bytes = 1000});
  store.add("a", kept(1, "one"));
  store.add("b", kept(1, "two"));
  EXPECT_EQ(store.find("a", 1)->response["text"], "one");
  store.add("c", kept(1, "three"));
  EXPECT_TRUE(store.find("a", 1));
  EXPECT_FALSE(store.find("b", 1));  // it was used longest ago
  EXPECT_FALSE(store.find("a", 2));  // another's
  EXPECT_FALSE(store.remove("a", 2));
  EXPECT_TRUE(store.remove("a", 1));
  EXPECT_FALSE(store.find("a", 1));
  store.add("large", kept(1, std::string(600, 'x')));
  store.add("larger", kept(1, std::string(700, 'x')));
  EXPECT_FALSE(store.find("large", 1));
  EXPECT_TRUE(store.find("larger", 1));
  store.add("too large", kept(1, std::string(2000, 'x')));
  EXPECT_FALSE(store.find("too large", 1));
  EXPECT_TRUE(store.remove("larger", 1));
  EXPECT_EQ(store.bytes(), 0U);
}

TEST(ResponseItems, MessagesOfTextAndNothingElse) {
  EXPECT_EQ(read_items("hello")->dump(), R"([{"role":"user","content":"hello"}])");
  const Json parts =
      Json::parse(R"([{"role":"user","content":[{"type":"input_text","text":"a"},{"type":"input_text","text":"b"}]}])");
  EXPECT_EQ(read_items(parts)->dump(), R"([{"role":"user","content":"a\nb"}])");
  const auto refused = [](const char* items) { return read_items(Json::parse(items)).error().message; };
  EXPECT_NE(refused(R"([{"type":"function_call","name":"f"}])").find("input[0].call_id"), std::string::npos);
  EXPECT_NE(
      refused(R"([{"role":"user","content":[{"type":"input_image","text":"x"}]}])").find("input[0].content[0].type"),
      std::string::npos);
  EXPECT_NE(refused(R"([{"role":"user","content":"x","mood":1}])").find("input[0].mood"), std::string::npos);
  EXPECT_NE(refused(R"(["x"])").find("input[0]: an object expected"), std::string::npos);
}

// numpy.packbits(numpy.array(v) > 0) gives 165 and 128.
TEST(VectorCodes, SignsAndWholeNumbers) {
  const std::vector<float> vector{0.51F, -0.25F, 1.0F, -1.0F, 0.0F, 0.125F, -0.49F, 0.75F, 0.001F};
  EXPECT_EQ(code_vector(vector, "ubinary")["embedding"].dump(), "[165,128]");
  EXPECT_EQ(code_vector(vector, "binary")["embedding"].dump(), "[37,0]");
  const Json coded = code_vector(vector, "int8");
  EXPECT_EQ(coded["embedding"].dump(), "[65,-32,127,-127,0,16,-62,95,0]");
  EXPECT_FLOAT_EQ(coded["scale"].get<float>(), 1.0F / 127);
  EXPECT_EQ(code_vector(std::vector<float>{0, 0}, "int8")["embedding"].dump(), "[0,0]");
}

TEST(Routes, PathsWithNames) {
  EXPECT_EQ(match_path("/a/{id}", "/a/b"), "b");
  EXPECT_EQ(match_path("/a/{id}/c", "/a/b/c"), "b");
  EXPECT_FALSE(match_path("/a/{id}", "/a/"));
  EXPECT_FALSE(match_path("/a/{id}", "/a/b/c"));
  EXPECT_EQ(match_path("/a", "/a"), "");
  EXPECT_FALSE(match_path("/a", "/b"));
}

Json request(const std::string& input) {
  return {{"input", input}, {"max_output_tokens", 4}, {"temperature", 0}};
}

TEST(Responses, GoOnFromWhatIsKeptByTheSameKey) {
  const TestServer server(ModelOptions{}, {.rules = {.keys = {"mine", "other"}}});
  const httplib::Headers mine{{"Authorization", "Bearer mine"}};
  const httplib::Headers other{{"Authorization", "Bearer other"}};
  const HttpAnswer first = server.post("/v1/responses", request("cat"), mine);
  ASSERT_EQ(first.status, 200) << first.text;
  const auto id = first.json()["id"].get<std::string>();
  const std::string path = "/v1/responses/" + id;
  EXPECT_EQ(server.get(path, mine).json(), first.json());
  EXPECT_EQ(server.get(path, other).status, 404);
  Json next = request("dog");
  next["previous_response_id"] = id;
  EXPECT_EQ(server.post("/v1/responses", next, other).status, 400);
  const HttpAnswer second = server.post("/v1/responses", next, mine);
  ASSERT_EQ(second.status, 200) << second.text;
  const Json said = Json::array({{{"role", "user"}, {"content", "cat"}},
                                 {{"role", "assistant"}, {"content", first.json()["output"][0]["content"][0]["text"]}},
                                 {{"role", "user"}, {"content", "dog"}}});
  Json whole = request("");
  whole["input"] = said;
  EXPECT_EQ(server.post("/v1/responses", whole, mine).json()["output"][0]["content"],
            second.json()["output"][0]["content"]);
  EXPECT_EQ(server.client().Delete(path, other)->status, 404);
  EXPECT_EQ(server.client().Delete(path, mine)->status, 200);
  EXPECT_EQ(server.get(path, mine).status, 404);
}

TEST(Usage, TellsWhatWasCached) {
  const TestServer server;
  const std::string text(150, 'a');
  const Json body{
      {"messages", Json::array({{{"role", "user"}, {"content", text}}})}, {"max_tokens", 1}, {"temperature", 0}};
  const Json first = server.ask("/v1/chat/completions", body)["usage"];
  const Json second = server.ask("/v1/chat/completions", body)["usage"];
  EXPECT_EQ(first["prompt_tokens_details"]["cached_tokens"], 0);
  const auto cached = second["prompt_tokens_details"]["cached_tokens"].get<int64_t>();
  EXPECT_GT(cached, 0);
  EXPECT_LT(cached, second["prompt_tokens"].get<int64_t>());
  Json message = body;
  message["model"] = "tiny";
  const Json third = server.ask("/v1/messages", message)["usage"];
  EXPECT_EQ(third["cache_read_input_tokens"], cached);
  EXPECT_EQ(third["input_tokens"].get<int64_t>() + cached, second["prompt_tokens"].get<int64_t>());
}

TEST(Layers, SumsOfTheStepsThatWereWatched) {
  const TestServer server(ModelOptions{.watch_every = 2});
  EXPECT_TRUE(server.get("/v1/layers").json()["data"][0]["parts"].empty());
  server.ask("/v1/completions", {{"prompt", "cat"}, {"max_tokens", 9}, {"ignore_eos", true}});
  const Json told = server.get("/v1/layers").json()["data"][0];
  EXPECT_EQ(told["every"], 2);
  // One step reads the prompt, eight write: the first is watched, and every second one from there.
  EXPECT_EQ(told["reading"]["steps"], 1);
  EXPECT_EQ(told["writing"]["steps"], 4);
  double seconds = 0;
  for (const Json& part : told["parts"]) {
    seconds += part["writing"]["seconds"].get<double>();
    if (part["part"] != "attn" && part["part"] != "mlp") continue;
    EXPECT_GE(part["writing"]["bytes"].get<int64_t>(), 4 * part["weight_bytes"].get<int64_t>());
    EXPECT_GT(part["weight_bytes"].get<int64_t>(), 0);
  }
  EXPECT_NEAR(seconds, told["writing"]["seconds"].get<double>(), 1e-4);
  EXPECT_EQ(told["parts"][0]["part"], "embedding");
  EXPECT_TRUE(told["parts"][0]["layer"].is_null());
  const TestServer unwatched;
  unwatched.ask("/v1/completions", {{"prompt", "cat"}, {"max_tokens", 2}});
  EXPECT_TRUE(unwatched.get("/v1/layers").json()["data"][0]["parts"].empty());
}

}  // namespace
}  // namespace lamina::serve
