#pragma once

#include <gtest/gtest.h>
#include <httplib.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "models/vocabulary.h"
#include "run/plan_recipe.h"
#include "serve/service.h"
#include "support/source_dir.h"

namespace lamina::serve {

inline constexpr const char* kTemplate =
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}<a>{% endif "
    "%}";

struct ModelOptions {
  std::string name = "tiny";
  std::string folder = "models/qwen2/model.gguf";  ///< below tests/golden
  int64_t context = 256;
  int32_t parallel = 4;
  int64_t max_rows = 64;
  int64_t cache_tokens = 0;
  std::string chat_template = kTemplate;
  std::string tokenizer{};  ///< of another folder, for models that have none
  std::string recipe{};     ///< a route, a draft
  int64_t watch_every = 0;
  std::optional<run::Router> router{};
};

/// A golden model ready to be served; exact arithmetic, keys and values in float32.
inline std::unique_ptr<ServedModel> open_model(core::ThreadPool& pool, const ModelOptions& options) {
  const auto path = source_dir() / "tests/golden" / options.folder;
  auto model = models::Model::build(path, {.exact = true});
  if (!model) throw std::runtime_error(model.error().text());
  if (const auto loaded = (*model)->load(pool, {}); !loaded) throw std::runtime_error(loaded.error().text());
  std::unique_ptr<models::Model> other;
  if (!options.tokenizer.empty())
    other = models::Model::build(source_dir() / "tests/golden" / options.tokenizer, {.exact = true}).value();
  auto tokenizer = models::load_tokenizer((other ? *other : **model).files());
  if (!tokenizer) throw std::runtime_error(tokenizer.error().text());
  auto plan = run::plan_recipe(options.recipe, **model);
  if (!plan) throw std::runtime_error(plan.error().text());
  plan->kv_format = "f32";
  auto runner = run::Runner::create(
      **model, pool,
      {.plan = *plan,
       .context = options.context,
       .sequences = options.parallel,
       .max_rows = options.max_rows,
       .cache_tokens = options.cache_tokens,
       .keeps_texts = true,
       .takes_routes = true,
       .spare = options.router ? run::spare_visits(*options.router, plan->route) : std::vector<recipe::Visit>()});
  if (!runner) throw std::runtime_error(runner.error().text());
  auto task = find_task(**model);
  if (!task) throw std::runtime_error(task.error().text());
  auto served = std::make_unique<ServedModel>(ServedModel{.name = options.name,
                                                          .recipe = {},
                                                          .task = *task,
                                                          .model = std::move(*model),
                                                          .runner = std::move(*runner),
                                                          .tokenizer = std::move(*tokenizer)});
  if (const auto uses = read_uses(*served); !uses) throw std::runtime_error(uses.error().text());
  if (options.router) {
    served->router = std::make_unique<run::Router>(*options.router);
    served->reader =
        std::make_unique<run::RouterReader>(run::RouterReader::create(*served->router, *served->runner).value());
  }
  if (plan->draft) served->speculation = run::Speculation::create(*plan->draft, *served->runner).value();
  served->watch = std::make_unique<LayerWatch>(options.watch_every);
  if (*task == Task::kGenerate && !options.chat_template.empty())
    served->chat_template = text::ChatTemplate::compile(options.chat_template).value();
  return served;
}

struct HttpAnswer {
  int status = 0;  ///< 0: none came
  std::string text;
  httplib::Headers headers;

  Json json() const { return Json::parse(text); }
};

/// Makes the function-local objects of the HTTP library, once and before any threads that share them: the library is
/// not instrumented, so ThreadSanitizer does not see the guards by which threads agree on who makes them.
inline void touch_http_library() {
  static const bool touched = [] {
    httplib::Server server;
    server.Post("/", [](const httplib::Request&, httplib::Response& response) { response.set_content("{}", "a/b"); });
    server.Get("/pieces", [](const httplib::Request&, httplib::Response& response) {
      response.set_chunked_content_provider("a/b", [](size_t, httplib::DataSink& sink) {
        sink.done();
        return true;
      });
    });
    const int port = server.bind_to_any_port("127.0.0.1");
    std::thread thread([&] { server.listen_after_bind(); });
    while (!server.is_running()) std::this_thread::yield();
    httplib::Client client("127.0.0.1", port);
    client.Post("/", {{"Expect", "100-continue"}}, "{}", "application/json");
    client.Get("/pieces");
    client.Get("/none");
    server.stop();
    thread.join();
    return true;
  }();
  std::ignore = touched;
}

/// A server on a free port of this machine, for as long as it lives.
class TestServer {
 public:
  explicit TestServer(const ModelOptions& model = {}, ServiceOptions options = {})
      : TestServer(std::vector<ModelOptions>{model}, std::move(options)) {}
  /// `change` may change a model before it is served.
  explicit TestServer(const std::vector<ModelOptions>& models, ServiceOptions options = {},
                      const std::function<void(ServedModel&)>& change = {})
      : pool_(1) {
    touch_http_library();
    for (const ModelOptions& one : models) {
      models_.push_back(open_model(pool_, one));
      if (change) change(*models_.back());
    }
    service_ = std::make_unique<Service>(models_, std::move(options));
    if (const auto bound = service_->bind("127.0.0.1", 0); !bound) throw std::runtime_error(bound.error().text());
    thread_ = std::thread([this] { service_->run(); });
  }
  ~TestServer() {
    service_->stop(std::chrono::milliseconds(0));
    thread_.join();
  }
  TestServer(const TestServer&) = delete;
  TestServer& operator=(const TestServer&) = delete;

  httplib::Client client() const {
    httplib::Client client("127.0.0.1", service_->port());
    client.set_read_timeout(300);
    return client;
  }
  HttpAnswer get(const std::string& path, const httplib::Headers& headers = {}) const {
    return answer(client().Get(path, headers));
  }
  HttpAnswer post_text(const std::string& path, const std::string& body, const httplib::Headers& headers = {}) const {
    return answer(client().Post(path, headers, body, "application/json"));
  }
  HttpAnswer post(const std::string& path, const Json& body, const httplib::Headers& headers = {}) const {
    return post_text(path, body.dump(), headers);
  }
  /// The answer to a request that must be right.
  Json ask(const std::string& path, const Json& body) const {
    const HttpAnswer answer = post(path, body);
    EXPECT_EQ(answer.status, 200) << path << " " << body.dump() << ": " << answer.text;
    return answer.status == 200 ? answer.json() : Json();
  }
  Json ask_get(const std::string& path) const {
    const HttpAnswer answer = get(path);
    EXPECT_EQ(answer.status, 200) << path << ": " << answer.text;
    return answer.json();
  }
  /// The error of a request that must be refused.
  Json refused(int status, const std::string& path, const Json& body) const {
    const HttpAnswer answer = post(path, body);
    EXPECT_EQ(answer.status, status) << path << " " << body.dump() << ": " << answer.text;
    return answer.json().value("error", Json::object());
  }
  Service& service() { return *service_; }
  ServedModel& model(size_t index = 0) { return *models_[index]; }
  int port() const { return service_->port(); }
  WorkerCounts counts(size_t model = 0) const { return service_->scheduler().state(model).counts; }

 private:
  static HttpAnswer answer(const httplib::Result& result) {
    if (!result) return {};
    return {.status = result->status, .text = result->body, .headers = result->headers};
  }

  core::ThreadPool pool_;
  std::vector<std::unique_ptr<ServedModel>> models_;
  std::unique_ptr<Service> service_;
  std::thread thread_;
};

/// The events of a stream; the last one must be [DONE], and is left out.
inline std::vector<Json> events_of(const std::string& text) {
  std::vector<Json> events;
  bool done = false;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find("\n\n", begin);
    if (end == std::string::npos) break;
    const std::string line = text.substr(begin, end - begin);
    EXPECT_TRUE(line.starts_with("data: ")) << line;
    done = line == "data: [DONE]";
    if (!done) events.push_back(Json::parse(line.substr(6)));
    begin = end + 2;
  }
  EXPECT_TRUE(done) << text;
  return events;
}

/// Waits for something that must come to be within some seconds.
template <typename Condition>
bool eventually(Condition&& condition) {
  for (int i = 0; i < 2000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

}  // namespace lamina::serve
