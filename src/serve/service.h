#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "serve/http_server.h"
#include "serve/response_store.h"
#include "serve/scheduler.h"

namespace lamina::serve {

/// What is noted of a request when it has been answered.
struct RequestRecord {
  std::string id;         ///< of this server's making, unlike all others
  std::string told_id{};  ///< what the client calls it, or `id`; the answer's X-Request-Id
  std::string client;
  std::string method;
  std::string path;
  std::string model{};
  int status = 0;
  double seconds = 0;
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;  ///< of the prompt, that another text had computed
  int64_t completion_tokens = 0;
  std::shared_ptr<void> pin{};  ///< keeps the model loaded until the answer has gone out
};

/// What may change while the server runs.
struct ServiceRules {
  std::vector<std::string> keys{};     ///< requests must carry one of them; none: no key is asked for
  std::vector<std::string> origins{};  ///< of pages of other sites that may ask ("*": all)
  bool checks_host = false;            ///< answer only requests to a loopback name (without keys, on loopback)
  std::function<void(const RequestRecord& record)> log{};  ///< called by several threads at once
};

struct ServiceOptions {
  ServiceRules rules{};
  std::string sessions{};  ///< the folder of saved sessions; empty: none are saved
  SchedulerOptions scheduler{};
  HttpLimits http{};
  std::shared_ptr<const Tls> tls{};  ///< null: not encrypted
};

/// The whole server: models, their scheduler, the routes and the sockets.
class Service {
 public:
  /// The models must outlive it.
  Service(std::vector<std::unique_ptr<ServedModel>>& models, ServiceOptions options);
  ~Service();

  core::Status bind(const std::string& host, int port) { return http_.bind(host, port); }
  int port() const { return http_.port(); }
  /// Answers until stop().
  void run();
  /// Takes no more requests, lets those that run come to their end for at most `grace`, then cuts them. From any other
  /// thread than run()'s.
  void stop(std::chrono::milliseconds grace);

  const std::vector<std::unique_ptr<ServedModel>>& models() const { return models_; }
  Scheduler& scheduler() { return scheduler_; }
  ResponseStore& responses() { return responses_; }
  const ServiceOptions& options() const { return options_; }
  /// Goes by these rules from now on; requests that are being answered keep theirs.
  void change(ServiceRules rules);
  /// How many connections may be open, and how many parts of requests may wait for a model.
  void change_limits(int connections, int64_t queue);
  int connections() const { return http_.connections(); }
  /// Answered requests by path and status.
  std::map<std::pair<std::string, int>, int64_t> answered() const;
  std::string next_id();

 private:
  std::optional<Reply> check(const HttpRequest& request);
  Reply refuse(const HttpRequest& request, int status, std::string message);
  Reply answer(const HttpRequest& request);
  RequestRecord record_of(const HttpRequest& request);
  void finish(const RequestRecord& record);
  void add_shared_headers(const HttpRequest& request, Reply& reply) const;
  std::shared_ptr<const ServiceRules> rules() const;

  std::vector<std::unique_ptr<ServedModel>>& models_;
  ServiceOptions options_;
  Scheduler scheduler_;
  ResponseStore responses_;
  HttpServer http_;
  std::atomic<uint64_t> ids_{0};
  std::string run_id_;  ///< tells this process's ids from those of others
  mutable std::mutex mutex_;
  std::shared_ptr<const ServiceRules> rules_;
  std::map<std::pair<std::string, int>, int64_t> answered_;
};

/// One request on its way through a route.
struct Call {
  Service& service;
  const HttpRequest& request;
  Json body;
  std::shared_ptr<RequestRecord> record;
  std::string tenant{};  ///< by the request's key: who shares what is kept of texts
  std::string client{};  ///< by the key, else by the address: who gets a fair share
  std::string id{};      ///< what stands for {id} in the route's path

  const ServedModel& model(size_t index) const { return *service.models()[index]; }
  /// The model that the body names, which must be for one of these tasks; without a name the only one for them.
  Answer<size_t> find_model(std::initializer_list<Task> tasks);
};

}  // namespace lamina::serve
