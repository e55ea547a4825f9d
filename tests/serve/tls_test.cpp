// Encrypted connections: what clients get, and which files are refused.
#include "serve/tls.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "serve/served.h"

namespace lamina::serve {
namespace {

std::string file(const std::string& name) {
  return (source_dir() / "tests/e2e/tls" / name).string();
}

ServiceOptions encrypted() {
  ServiceOptions options;
  options.tls = Tls::open(file("certificate.pem"), file("key.pem")).value();
  options.http.request = std::chrono::milliseconds(1500);
  return options;
}

std::unique_ptr<httplib::SSLClient> client_of(const TestServer& server) {
  auto made = std::make_unique<httplib::SSLClient>("localhost", server.port());
  httplib::SSLClient& client = *made;
  client.set_ca_cert_path(file("certificate.pem").c_str());
  client.enable_server_certificate_verification(true);
  client.set_keep_alive(true);
  return made;
}

TEST(Tls, AnswersAndStreams) {
  const TestServer server(ModelOptions{}, encrypted());
  const auto own_client = client_of(server);
  httplib::SSLClient& client = *own_client;
  const Json body{{"prompt", "cat"}, {"max_tokens", 40}, {"temperature", 0}, {"ignore_eos", true}};
  const auto whole = client.Post("/v1/completions", body.dump(), "application/json");
  ASSERT_TRUE(whole) << httplib::to_string(whole.error());
  ASSERT_EQ(whole->status, 200) << whole->body;
  const TestServer plain;
  const Json told = plain.ask("/v1/completions", body);
  EXPECT_EQ(Json::parse(whole->body)["choices"], told["choices"]);
  Json streamed = body;
  streamed["stream"] = true;
  const auto stream = client.Post("/v1/completions", streamed.dump(), "application/json");
  ASSERT_TRUE(stream);
  std::string text;
  for (const Json& event : events_of(stream->body)) text += event["choices"][0]["text"].get<std::string>();
  EXPECT_EQ(text, told["choices"][0]["text"].get<std::string>());
  // More than a record of the encryption holds, in both ways.
  const std::string long_text(100'000, 'a');
  const auto tokens = client.Post("/tokenize", Json{{"content", long_text}}.dump(), "application/json");
  ASSERT_TRUE(tokens);
  const auto back =
      client.Post("/detokenize", Json{{"tokens", Json::parse(tokens->body)["tokens"]}}.dump(), "application/json");
  ASSERT_TRUE(back);
  EXPECT_EQ(Json::parse(back->body)["content"], long_text);
}

TEST(Tls, ThoseWhoDoNotSpeakItAreLeft) {
  const TestServer server(ModelOptions{}, encrypted());
  EXPECT_EQ(server.get("/health").status, 0);
  const int silent = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(server.port()));
  inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
  ASSERT_EQ(connect(silent, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  const timeval limit{.tv_sec = 10, .tv_usec = 0};
  setsockopt(silent, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  char byte = 0;
  EXPECT_EQ(recv(silent, &byte, 1, 0), 0);  // it was closed when the time for a request was over
  close(silent);
  EXPECT_EQ(client_of(server)->Get("/health")->status, 200);
}

TEST(Tls, FilesThatAreRefused) {
  EXPECT_EQ(Tls::open(file("missing.pem"), file("key.pem")).error().place, file("missing.pem"));
  EXPECT_EQ(Tls::open(file("key.pem"), file("key.pem")).error().place, file("key.pem"));
  EXPECT_EQ(Tls::open(file("certificate.pem"), file("other_key.pem")).error().place, file("other_key.pem"));
}

}  // namespace
}  // namespace lamina::serve
