#include "serve/service.h"

#include <algorithm>
#include <random>

#include "core/clock.h"
#include "serve/routes.h"

namespace lamina::serve {

namespace {

constexpr std::string_view kBearer = "Bearer ";
constexpr int kUnavailable = 503;
/// How long those whose work was ended have to be told so.
constexpr int kLastTries = 50;
constexpr std::chrono::milliseconds kLastPause{10};

/// Compares without telling by its time where the texts differ.
bool equal_in_constant_time(std::string_view found, std::string_view wanted) {
  size_t difference = found.size() ^ wanted.size();
  for (size_t i = 0; i < found.size(); ++i)
    difference |= static_cast<unsigned char>(found[i] ^ wanted[i % std::max<size_t>(wanted.size(), 1)]);
  return difference == 0;
}

/// The key that a request carries: as OpenAI's clients send it, or Anthropic's.
std::string key_of(const HttpRequest& request) {
  const std::string bearer = request.header("Authorization");
  if (bearer.starts_with(kBearer)) return bearer.substr(kBearer.size());
  return request.header("x-api-key");
}

bool is_loopback(std::string host) {
  const size_t end = host.starts_with('[') ? host.find(']') : host.rfind(':');
  if (host.starts_with('[')) {
    host = host.substr(1, end == std::string::npos ? end : end - 1);
  } else {
    host.resize(std::min(end, host.size()));
  }
  return host == "localhost" || host.starts_with("127.") || host == "::1";
}

const Route* find_route(const HttpRequest& request) {
  const std::string_view method = request.method == "HEAD" ? "GET" : std::string_view(request.method);
  const auto all = routes();
  const auto found = std::ranges::find_if(
      all, [&](const Route& route) { return route.method == method && match_path(route.path, request.path); });
  return found == all.end() ? nullptr : &*found;
}

std::string_view reason_of(int status) {
  switch (status) {
    case 404:
      return "there is no such route; /openapi.json lists them";
    case 413:
      return "the body is too large";
    case 414:
      return "the path is too long";
    case 431:
      return "the head is too large";
    case 415:
      return "compressed bodies are not taken";
    default:
      return "the request is not HTTP as this server reads it";
  }
}

/// Whether a client's id may go into headers and logs as it is.
bool is_plain_id(std::string_view id) {
  constexpr size_t kMost = 128;
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.' || c == ':';
  };
  return !id.empty() && id.size() <= kMost && std::ranges::all_of(id, plain);
}

std::string random_text() {
  std::random_device device;
  return fmt::format("{:08x}{:08x}", device(), device());
}

}  // namespace

Service::Service(std::vector<std::unique_ptr<ServedModel>>& models, ServiceOptions options)
    : models_(models),
      options_(std::move(options)),
      scheduler_(models, options_.scheduler),
      http_(options_.http,
            {.check = [this](const HttpRequest& request) { return check(request); },
             .answer = [this](const HttpRequest& request) { return answer(request); },
             .refuse = [this](const HttpRequest& request, int status) { return refuse(request, status, {}); }},
            options_.tls),
      run_id_(random_text()),
      rules_(std::make_shared<const ServiceRules>(options_.rules)) {}

Service::~Service() {
  stop(std::chrono::milliseconds(0));
}

void Service::run() {
  scheduler_.start();
  http_.run();
}

void Service::stop(std::chrono::milliseconds grace) {
  scheduler_.drain();
  http_.stop();
  const auto end = std::chrono::steady_clock::now() + grace;
  while (http_.connections() > 0 && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(kLastPause);
  scheduler_.stop();
  for (int i = 0; i < kLastTries && http_.connections() > 0; ++i) std::this_thread::sleep_for(kLastPause);
  http_.cut();
}

std::shared_ptr<const ServiceRules> Service::rules() const {
  const std::lock_guard lock(mutex_);
  return rules_;
}

void Service::change(ServiceRules rules) {
  auto changed = std::make_shared<const ServiceRules>(std::move(rules));
  const std::lock_guard lock(mutex_);
  rules_ = std::move(changed);
}

void Service::change_limits(int connections, int64_t queue) {
  http_.set_connections(connections);
  scheduler_.set_queue(queue);
}

std::string Service::next_id() {
  return fmt::format("{}-{}", run_id_, ++ids_);
}

std::map<std::pair<std::string, int>, int64_t> Service::answered() const {
  const std::lock_guard lock(mutex_);
  return answered_;
}

RequestRecord Service::record_of(const HttpRequest& request) {
  std::string id = next_id();
  std::string told = request.header("X-Request-Id");
  if (!is_plain_id(told)) told = id;
  return {.id = std::move(id),
          .told_id = std::move(told),
          .client = request.client,
          .method = request.method,
          .path = request.path};
}

/// The reply to a request that no route sees; without a message the status speaks for itself.
Reply Service::refuse(const HttpRequest& request, int status, std::string message) {
  RequestRecord record = record_of(request);
  // Only paths of routes are counted, so that strangers cannot fill the memory with names.
  const Route* route = find_route(request);
  record.path = route == nullptr ? "other" : route->path;
  record.status = status;
  Reply reply = refusal_reply(Refusal(status, message.empty() ? std::string(reason_of(status)) : std::move(message)));
  reply.headers.emplace_back("X-Request-Id", record.told_id);
  add_shared_headers(request, reply);
  finish(record);
  return reply;
}

/// Everything that can be said before the body is there.
std::optional<Reply> Service::check(const HttpRequest& request) {
  const auto say = [&](int status, std::string message) { return refuse(request, status, std::move(message)); };
  const auto rules = this->rules();
  const std::string origin = request.header("Origin");
  const std::string host = request.header("Host");
  const bool foreign = !origin.empty() && origin != "http://" + host && origin != "https://" + host;
  const bool allowed =
      std::ranges::any_of(rules->origins, [&](const auto& one) { return one == "*" || one == origin; });
  if (foreign && !allowed) return say(403, fmt::format("pages of {} may not ask this server", origin));
  if (rules->checks_host && !is_loopback(host)) return say(403, "the Host header names another machine than this one");
  if (request.method == "OPTIONS" && foreign) {
    Reply reply{.status = 204};
    add_shared_headers(request, reply);
    return reply;
  }
  const Route* route = find_route(request);
  if (route == nullptr) {
    const bool known =
        std::ranges::any_of(routes(), [&](const Route& one) { return match_path(one.path, request.path).has_value(); });
    if (known) return say(405, fmt::format("{} is not for this route; /openapi.json lists them", request.method));
    return say(404, {});
  }
  if (route->open || rules->keys.empty()) return std::nullopt;
  const std::string key = key_of(request);
  bool right = false;
  for (const std::string& one : rules->keys) right |= equal_in_constant_time(key, one);
  if (right) return std::nullopt;
  return say(401, key.empty() ? "an API key is needed: Authorization: Bearer KEY" : "the API key is wrong");
}

void Service::add_shared_headers(const HttpRequest& request, Reply& reply) const {
  reply.headers.emplace_back("X-Content-Type-Options", "nosniff");
  const std::string origin = request.header("Origin");
  if (origin.empty()) return;
  const auto rules = this->rules();
  for (const std::string& allowed : rules->origins) {
    if (allowed != "*" && allowed != origin) continue;
    reply.headers.emplace_back("Access-Control-Allow-Origin", allowed);
    reply.headers.emplace_back("Access-Control-Allow-Headers", "Authorization, Content-Type, x-api-key");
    reply.headers.emplace_back("Vary", "Origin");
    return;
  }
}

Reply Service::answer(const HttpRequest& request) {
  const core::Stopwatch watch;
  const Route& route = *find_route(request);
  const auto record = std::make_shared<RequestRecord>(record_of(request));
  record->path = route.path;
  // Those who share no key share nothing that is kept either.
  const bool open = rules()->keys.empty();
  const std::string tenant = open ? "" : key_of(request);
  Call call{.service = *this,
            .request = request,
            .body = {},
            .record = record,
            .tenant = tenant,
            .client = open ? request.client : tenant,
            .id = std::string(*match_path(route.path, request.path))};
  const auto handle = [&]() -> Answer<Reply> {
    if (route.fields == nullptr) return route.handler(call);
    if (!request.header("Content-Type").starts_with("application/json"))
      return serve::refuse(415, "", "Content-Type: application/json expected");
    LAMINA_ASSIGN(call.body, parse_body(request.body));
    LAMINA_CHECK_OK(check_fields(call.body, route.fields()));
    return route.handler(call);
  };
  Answer<Reply> answered = handle();
  Reply reply = answered ? std::move(*answered) : refusal_reply(answered.error());
  reply.headers.emplace_back("X-Request-Id", record->told_id);
  add_shared_headers(request, reply);
  record->status = reply.status;
  if (!reply.stream) {
    record->seconds = watch.seconds();
    finish(*record);
    return reply;
  }
  reply.stream = [this, record, watch, stream = std::move(reply.stream)](const Write& write) {
    stream(write);
    record->seconds = watch.seconds();
    finish(*record);
  };
  return reply;
}

void Service::finish(const RequestRecord& record) {
  {
    const std::lock_guard lock(mutex_);
    ++answered_[{record.path, record.status}];
  }
  if (const auto rules = this->rules(); rules->log) rules->log(record);
}

Answer<size_t> Call::find_model(std::initializer_list<Task> tasks) {
  const auto fits = [&](const ServedModel& one) { return std::ranges::find(tasks, one.task) != tasks.end(); };
  const auto& all = service.models();
  const auto name = value_of<std::string>(body, "model", "");
  std::optional<size_t> found;
  size_t candidates = 0;
  std::string names;
  for (size_t i = 0; i < all.size(); ++i) {
    if (name.empty() ? !fits(*all[i]) : all[i]->name != name) {
      if (fits(*all[i])) names += (names.empty() ? "" : ", ") + all[i]->name;
      continue;
    }
    names += (names.empty() ? "" : ", ") + all[i]->name;
    found = i;
    ++candidates;
  }
  if (names.empty()) names = "none";
  if (!found) {
    return std::unexpected(
        Refusal(404, fmt::format("model: \"{}\" is not served here; models for this route: {}", name, names), "model",
                "model_not_found"));
  }
  if (candidates > 1) return refuse(400, "model", "model: it is missing; one of {} expected", names);
  if (!fits(*all[*found])) {
    return refuse(400, "model", "model: {} is there to {}, which this route does not ask for; models for it: {}", name,
                  task_name(all[*found]->task), names);
  }
  record->model = all[*found]->name;
  auto pin = service.scheduler().keeper().pin(*found);
  if (!pin) return refuse(kUnavailable, "model", "model: {} cannot be loaded: {}", record->model, pin.error().text());
  record->pin = std::move(*pin);
  return *found;
}

}  // namespace lamina::serve
