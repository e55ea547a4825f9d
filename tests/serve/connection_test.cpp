// What clients can do to the server with their sockets, and who is let in.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>

#include "serve/served.h"

namespace lamina::serve {
namespace {

/// A socket that a test writes to as it likes.
class RawClient {
 public:
  /// `receive_bytes`: what the system takes for a client that does not read; 0: as usual.
  explicit RawClient(int port, int receive_bytes = 0) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    if (receive_bytes > 0) setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof(receive_bytes));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    timeval limit{.tv_sec = 10, .tv_usec = 0};
    setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    EXPECT_EQ(connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  }
  ~RawClient() { leave(); }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  bool send(const std::string& text) const {
    for (size_t sent = 0; sent < text.size();) {
      const ssize_t count = ::send(socket_, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
      if (count <= 0) return false;
      sent += static_cast<size_t>(count);
    }
    return true;
  }
  void post(const std::string& path, const std::string& body, const std::string& headers = "") const {
    send(fmt::format(
        "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{}Content-Length: {}\r\n\r\n{}", path,
        headers, body.size(), body));
  }
  /// Everything until the server closes, or the time is over.
  std::string read_all() const {
    std::string text;
    char buffer[4096];
    for (ssize_t got = 0; (got = recv(socket_, buffer, sizeof(buffer), 0)) > 0;)
      text.append(buffer, static_cast<size_t>(got));
    return text;
  }
  std::string read_some() const {
    char buffer[4096];
    const ssize_t got = recv(socket_, buffer, sizeof(buffer), 0);
    return got > 0 ? std::string(buffer, static_cast<size_t>(got)) : std::string();
  }
  /// Sends nothing more.
  void close_half() const { shutdown(socket_, SHUT_WR); }
  void leave() {
    if (socket_ >= 0) close(socket_);
    socket_ = -1;
  }

 private:
  int socket_;
};

std::string completion(int64_t tokens, bool stream, const std::string& prompt = "cat") {
  return Json{{"prompt", prompt}, {"max_tokens", tokens}, {"temperature", 0}, {"ignore_eos", true}, {"stream", stream}}
      .dump();
}

ServiceOptions impatient() {
  ServiceOptions options;
  options.http.request = std::chrono::milliseconds(1500);
  options.http.idle = std::chrono::milliseconds(1500);
  options.http.header_bytes = 4096;
  options.http.body_bytes = 4096;
  options.http.connections = 20;
  return options;
}

TEST(Connections, LimitsOfHeadAndBody) {
  TestServer server(ModelOptions{}, impatient());
  RawClient head(server.port());
  head.send("GET /health HTTP/1.1\r\nHost: localhost\r\n");
  for (int i = 0; i < 100 && head.send("X-Filler: " + std::string(100, 'x') + "\r\n"); ++i) {
  }
  EXPECT_TRUE(head.read_all().starts_with("HTTP/1.1 431"));
  RawClient body(server.port());
  body.post("/v1/completions", completion(1, false, std::string(5000, 'x')));
  EXPECT_TRUE(body.read_all().starts_with("HTTP/1.1 413"));
  RawClient huge(server.port());
  huge.send("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n");
  EXPECT_TRUE(huge.read_all().starts_with("HTTP/1.1 413"));
  RawClient chunks(server.port());
  chunks.send(
      "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: "
      "chunked\r\n\r\n");
  for (int i = 0; i < 40 && chunks.send("80\r\n" + std::string(128, ' ') + "\r\n"); ++i) {
  }
  EXPECT_FALSE(chunks.read_all().starts_with("HTTP/1.1 200"));
  RawClient packed(server.port());
  packed.post("/v1/completions", "x", "Content-Encoding: gzip\r\n");
  EXPECT_TRUE(packed.read_all().starts_with("HTTP/1.1 415"));
  EXPECT_EQ(server.get("/" + std::string(300, 'x')).status, 414);
  EXPECT_EQ(server.get("/health").status, 200);
}

TEST(Connections, SlowAndBrokenClientsAreLeft) {
  TestServer server(ModelOptions{}, impatient());
  RawClient silent(server.port());
  RawClient half(server.port());
  half.send("POST /v1/completions HTTP/1.1\r\nHost: loc");
  RawClient body(server.port());
  body.send(
      "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
      "100\r\n\r\n{");
  RawClient drip(server.port());
  std::atomic<bool> dripping = true;
  std::thread dripper([&] {
    while (dripping && drip.send("G")) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  });
  EXPECT_EQ(silent.read_all(), "");
  EXPECT_FALSE(half.read_all().starts_with("HTTP/1.1 200"));
  EXPECT_FALSE(body.read_all().starts_with("HTTP/1.1 200"));
  EXPECT_TRUE(eventually([&] { return server.service().connections() == 0; }));
  dripping = false;
  dripper.join();
  RawClient nonsense(server.port());
  nonsense.send("hello\r\n\r\n");
  EXPECT_TRUE(nonsense.read_all().starts_with("HTTP/1.1 400"));
  EXPECT_EQ(server.get("/health").status, 200);
}

TEST(Connections, AClientThatReadsNothingIsLeft) {
  ServiceOptions options;
  options.http.write = std::chrono::milliseconds(200);
  TestServer server(ModelOptions{.parallel = 8}, options);
  const RawClient idle(server.port());
  Json prompts = Json::array();
  for (int i = 0; i < 12; ++i) prompts.push_back(std::string(200, static_cast<char>('a' + i)));
  // More than the system keeps for it on the way.
  Json body{{"prompt", prompts}, {"n", 4}, {"max_tokens", 1}, {"echo", true}, {"logprobs", 20}};
  for (const bool stream : {false, true}) {
    body["stream"] = stream;
    RawClient slow(server.port(), 4096);
    slow.post("/v1/completions", body.dump());
    EXPECT_TRUE(eventually([&] { return server.counts().running > 0; }));
    EXPECT_TRUE(eventually([&] { return server.service().connections() == 1; })) << stream;  // the other one
    EXPECT_TRUE(eventually([&] { return server.counts().running == 0 && server.counts().waiting == 0; })) << stream;
  }
  EXPECT_EQ(server.post_text("/v1/completions", completion(3, false)).status, 200);
}

TEST(Connections, AHalfOpenClientCountsAsGone) {
  TestServer server;
  RawClient client(server.port());
  client.post("/v1/completions", completion(100, false));
  client.close_half();
  EXPECT_TRUE(eventually([&] { return server.service().connections() == 0; }));
  EXPECT_TRUE(eventually([&] { return server.counts().running == 0 && server.counts().cache_blocks_used == 0; }));
}

TEST(Connections, TooManyAreTurnedAway) {
  ServiceOptions options = impatient();
  options.http.request = std::chrono::milliseconds(30000);
  options.http.connections = 8;
  TestServer server(ModelOptions{}, options);
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 8; ++i) clients.push_back(std::make_unique<RawClient>(server.port()));
  ASSERT_TRUE(eventually([&] { return server.service().connections() == 8; }));
  RawClient ninth(server.port());
  EXPECT_TRUE(ninth.read_all().starts_with("HTTP/1.1 503"));
  clients.clear();
  EXPECT_TRUE(eventually([&] { return server.get("/health").status == 200; }));
}

TEST(Connections, ManyIdleOnesHarmNobody) {
  TestServer server;
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = std::min<rlim_t>(files.rlim_max, 4096);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &files), 0);
  // Both ends are in this process.
  const int count = files.rlim_cur >= 2200 ? 1000 : 300;
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < count; ++i) clients.push_back(std::make_unique<RawClient>(server.port()));
  ASSERT_TRUE(eventually([&] { return server.service().connections() == count; }));
  EXPECT_EQ(server.post_text("/v1/completions", completion(3, false)).status, 200);
  clients.clear();
  EXPECT_TRUE(eventually([&] { return server.service().connections() == 0; }));
}

TEST(Connections, RequestsAfterAnotherOnOneConnection) {
  TestServer server;
  httplib::Client client = server.client();
  client.set_keep_alive(true);
  for (int i = 0; i < 20; ++i) {
    const auto answer = client.Post("/v1/completions", completion(2, i % 2 == 0), "application/json");
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->status, 200);
  }
  EXPECT_EQ(server.service().connections(), 1);
  // What was not read of a refused request is not taken for the next one.
  RawClient smuggler(server.port());
  const std::string inner = "GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n";
  smuggler.send(
      fmt::format("GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{}", inner.size(), inner));
  const std::string text = smuggler.read_all();
  EXPECT_TRUE(text.starts_with("HTTP/1.1 200"));
  EXPECT_EQ(text.find("\"object\""), std::string::npos) << text;
}

TEST(Connections, ClientsThatVanishFreeTheirPlace) {
  TestServer server(ModelOptions{.parallel = 2});
  for (const bool stream : {true, false}) {
    for (int phase = 0; phase < 3; ++phase) {
      std::vector<std::unique_ptr<RawClient>> clients;
      for (int i = 0; i < 6; ++i) {
        clients.push_back(std::make_unique<RawClient>(server.port()));
        clients.back()->post("/v1/completions", completion(200, stream, std::string(40, 'x')));
      }
      // At once; while some write and others wait; when text has come.
      if (phase > 0) eventually([&] { return server.counts().running > 0; });
      if (phase == 2 && stream) clients.front()->read_some();
      clients.clear();
      EXPECT_TRUE(eventually([&] {
        const WorkerCounts counts = server.counts();
        return counts.running == 0 && counts.waiting == 0 && counts.cache_blocks_used == 0;
      })) << stream
          << phase;
    }
  }
  EXPECT_EQ(server.post_text("/v1/completions", completion(3, false)).status, 200);
}

TEST(Connections, AFullQueueIsA429) {
  ServiceOptions options;
  options.scheduler.queue = 2;
  TestServer server(ModelOptions{.parallel = 1}, options);
  std::vector<std::thread> threads;
  std::atomic<int> refused = 0;
  std::atomic<int> answered = 0;
  for (int i = 0; i < 12; ++i) {
    threads.emplace_back([&] {
      const HttpAnswer answer = server.post_text("/v1/completions", completion(100, false));
      if (answer.status == 429) {
        ++refused;
        EXPECT_TRUE(answer.headers.contains("Retry-After"));
        EXPECT_EQ(answer.json()["error"]["type"], "rate_limit_error");
      } else {
        ++answered;
        EXPECT_EQ(answer.status, 200);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(answered, 0);
  EXPECT_GT(refused, 0);
}

TEST(Connections, BodiesThatAreNoRequests) {
  TestServer server;
  for (const std::string& body : {std::string("{"), std::string("[]"), std::string("{\"prompt\": \"\xff\"}"),
                                  std::string(R"({"prompt": )") + std::string(50000, '[')}) {
    const HttpAnswer answer = server.post_text("/v1/completions", body);
    EXPECT_EQ(answer.status, 400) << body.substr(0, 40);
    EXPECT_EQ(answer.json()["error"]["type"], "invalid_request_error");
  }
  const auto plain = server.client().Post("/v1/completions", completion(1, false), "text/plain");
  EXPECT_EQ(plain->status, 415);
  EXPECT_EQ(server.get("/v1/completions").status, 405);
  EXPECT_EQ(server.get("/none").status, 404);
  EXPECT_EQ(server.get("/none").json()["error"]["type"], "not_found_error");
}

TEST(Access, KeysAreAskedFor) {
  ServiceOptions options;
  options.rules.keys = {"first-secret", "second-secret"};
  TestServer server(ModelOptions{}, options);
  EXPECT_EQ(server.get("/health").status, 200);
  EXPECT_EQ(server.get("/v1/models").status, 401);
  EXPECT_EQ(server.get("/metrics").status, 401);
  for (const char* wrong : {"first-secre", "first-secret2", "", "secret"})
    EXPECT_EQ(server.get("/v1/models", {{"Authorization", std::string("Bearer ") + wrong}}).status, 401) << wrong;
  EXPECT_EQ(server.get("/v1/models", {{"Authorization", "Bearer first-secret"}}).status, 200);
  EXPECT_EQ(server.get("/v1/models", {{"x-api-key", "second-secret"}}).status, 200);
  EXPECT_EQ(server.post_text("/v1/completions", completion(1, false)).status, 401);
}

TEST(Access, OtherSitesPagesAreKeptOut) {
  ServiceOptions options;
  options.rules.checks_host = true;
  options.rules.origins = {"https://friend.example"};
  TestServer server(ModelOptions{}, options);
  EXPECT_EQ(server.get("/v1/models").status, 200);
  EXPECT_EQ(server.get("/v1/models", {{"Host", "evil.example"}}).status, 403);
  EXPECT_EQ(server.get("/v1/models", {{"Host", "localhost.evil.example:80"}}).status, 403);
  EXPECT_EQ(server.get("/v1/models", {{"Origin", "https://evil.example"}}).status, 403);
  const HttpAnswer friendly = server.get("/v1/models", {{"Origin", "https://friend.example"}});
  EXPECT_EQ(friendly.status, 200);
  EXPECT_EQ(friendly.headers.find("Access-Control-Allow-Origin")->second, "https://friend.example");
  EXPECT_EQ(server.client().Options("/v1/models", {{"Origin", "https://friend.example"}})->status, 204);
}

TEST(Canary, SecretsNeverCross) {
  TestServer server(ModelOptions{.parallel = 6, .cache_tokens = 512});
  const auto& tokenizer = server.model().tokenizer;
  std::vector<std::thread> threads;
  std::atomic<int> answers = 0;
  // Each client makes the model repeat one token of its own; whatever it gets must be made of nothing else.
  for (int client = 0; client < 8; ++client) {
    threads.emplace_back([&, client] {
      const int token = 33 + client * 3;
      const std::string own = tokenizer.piece(token);
      for (int round = 0; round < 6; ++round) {
        Json body{{"prompt", std::vector<int>(static_cast<size_t>(20 + 31 * round % 90), token)},
                  {"max_tokens", 30},
                  {"temperature", round % 2},
                  {"ignore_eos", true},
                  {"logit_bias", {{std::to_string(token), 100}}},
                  {"stream", round % 3 == 0},
                  {"echo", round % 3 == 1}};
        if ((client + round) % 5 == 0) {
          RawClient leaver(server.port());
          leaver.post("/v1/completions", body.dump());
          continue;
        }
        const HttpAnswer answer = server.post("/v1/completions", body);
        ASSERT_EQ(answer.status, 200);
        std::string text;
        if (body["stream"]) {
          for (const Json& event : events_of(answer.text)) text += event["choices"][0]["text"].get<std::string>();
        } else {
          text = answer.json()["choices"][0]["text"];
        }
        ASSERT_FALSE(text.empty());
        for (size_t i = 0; i < text.size(); i += own.size()) ASSERT_EQ(text.substr(i, own.size()), own) << text;
        ++answers;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(answers, 30);
}

}  // namespace
}  // namespace lamina::serve
