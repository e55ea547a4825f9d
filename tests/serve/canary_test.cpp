// Many clients with secrets of their own, asking for all kinds of things at once: each gets what it would get alone.
#include <atomic>
#include <cstdlib>
#include <random>

#include "serve/served.h"

namespace lamina::serve {
namespace {

constexpr int kClients = 32;
constexpr int kVariants = 8;

/// A request of a client. Half of them begin with what all have in common; then comes what no other client has.
Json request_of(int client, int variant) {
  std::vector<int> prompt;
  for (int i = 0; variant % 2 == 0 && i < 100; ++i) prompt.push_back(i * 29 % 97);
  for (int i = 0; i < 20 + 13 * variant; ++i) prompt.push_back((client * 3 + i * (client + 1)) % 101);
  Json body{
      {"model", "tiny"}, {"prompt", prompt}, {"max_tokens", 6 + variant * 3}, {"temperature", 0}, {"ignore_eos", true}};
  if (variant == 1) body.update({{"temperature", 1.1}, {"seed", client}, {"logprobs", 2}});
  if (variant == 2) body.update({{"n", 2}, {"temperature", 0.9}, {"seed", client * 7}});
  if (variant == 3) body.update({{"echo", true}, {"logprobs", 1}});
  if (variant == 4) body.update({{"recipe", "route:0"}, {"priority", client % 5 - 2}});
  if (variant == 5) body.update({{"cache_salt", fmt::format("salt {}", client)}, {"logit_bias", {{"40", 3}}}});
  if (variant == 6) body.update({{"stop", Json::array({"q", "zz"})}, {"frequency_penalty", 0.5}});
  return body;
}

/// What an answer says, streamed or not: texts, log probabilities and ends of its choices.
Json said_of(const HttpAnswer& answer, bool streamed) {
  if (answer.status != 200) return answer.text;
  if (!streamed) return answer.json()["choices"];
  Json said = Json::array();
  for (const Json& event : events_of(answer.text)) {
    for (const Json& choice : event["choices"]) {
      const auto index = choice["index"].get<size_t>();
      while (said.size() <= index) said.push_back({{"index", said.size()}, {"text", ""}, {"finish_reason", nullptr}});
      said[index]["text"] = said[index]["text"].get<std::string>() + choice["text"].get<std::string>();
      if (!choice["finish_reason"].is_null()) said[index]["finish_reason"] = choice["finish_reason"];
    }
  }
  return said;
}

Json without_scores(Json choices) {
  for (Json& choice : choices) choice.erase("logprobs");
  return choices;
}

double seconds_to_run() {
  const char* text = std::getenv("LAMINA_CANARY_SECONDS");
  return text == nullptr ? 4 : std::strtod(text, nullptr);
}

TEST(Canary, EachGetsWhatItWouldGetAlone) {
  std::vector<std::vector<Json>> wanted(kClients);
  {
    TestServer alone(ModelOptions{.parallel = 1});
    for (int client = 0; client < kClients; ++client) {
      for (int variant = 0; variant < kVariants; ++variant) {
        Json body = request_of(client, variant);
        wanted[static_cast<size_t>(client)].push_back(said_of(alone.post("/v1/completions", body), false));
      }
    }
  }
  // Fewer places than clients, and too little cache for those who have one.
  ServiceOptions options;
  options.scheduler.queue = 1000;
  TestServer server(ModelOptions{.parallel = 7, .max_rows = 48, .cache_tokens = 640}, options);
  const core::Stopwatch clock;
  const double seconds = seconds_to_run();
  std::atomic<int64_t> answers = 0;
  std::atomic<int64_t> left = 0;
  std::vector<std::thread> threads;
  for (int client = 0; client < kClients; ++client) {
    threads.emplace_back([&, client] {
      std::mt19937 random(static_cast<uint32_t>(client));
      while (clock.seconds() < seconds && !testing::Test::HasFailure()) {
        const int variant = static_cast<int>(random() % kVariants);
        Json body = request_of(client, variant);
        const bool streamed = random() % 2 == 0;
        body["stream"] = streamed;
        httplib::Client connection = server.client();
        if (random() % 5 == 0) {  // leaves at any time
          connection.set_read_timeout(0, 1000 * static_cast<time_t>(random() % 30 + 1));
          std::ignore = connection.Post("/v1/completions", body.dump(), "application/json");
          ++left;
          continue;
        }
        Json said = said_of(server.post("/v1/completions", body), streamed);
        const Json& right = wanted[static_cast<size_t>(client)][static_cast<size_t>(variant)];
        EXPECT_EQ(without_scores(said), without_scores(right)) << client << " " << body.dump();
        if (!streamed) {
          EXPECT_EQ(said, right) << client;
        }
        ++answers;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(answers, kClients);
  EXPECT_GT(left, 0);
  EXPECT_TRUE(eventually([&] {
    const WorkerCounts counts = server.counts();
    return counts.running == 0 && counts.waiting == 0 && counts.cache_blocks_used == 0;
  }));
  EXPECT_GT(server.counts().reused_texts, 0);
}

}  // namespace
}  // namespace lamina::serve
