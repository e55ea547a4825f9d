#include "serve/http_server.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include "serve/connection.h"

namespace lamina::serve {

using core::ErrorCode;
using core::fail;
using core::Status;

namespace {

constexpr int kBacklog = 1024;
constexpr size_t kMaxPath = 256;
constexpr std::chrono::milliseconds kLinger{1000};

/// The connection that this thread serves.
thread_local Connection* current = nullptr;
/// Whether this thread only turns connections away.
thread_local bool full = false;

/// Threads for connections, made when they are needed and kept.
class Threads : public httplib::TaskQueue {
 public:
  explicit Threads(const std::atomic<int>& most) : most_(most) {}

  void enqueue(std::function<void()> task) override {
    {
      const std::lock_guard lock(mutex_);
      if (busy_ < static_cast<size_t>(most_.load())) {
        ++busy_;
        tasks_.push_back(std::move(task));
        if (busy_ > threads_.size()) threads_.emplace_back([this] { work(); });
        arrived_.notify_one();
        return;
      }
    }
    full = true;
    task();
    full = false;
  }

  void shutdown() override {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
    }
    arrived_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

 private:
  void work() {
    std::unique_lock lock(mutex_);
    while (true) {
      arrived_.wait(lock, [&] { return ending_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      const std::function<void()> task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      task();
      lock.lock();
      --busy_;
    }
  }

  const std::atomic<int>& most_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<std::function<void()>> tasks_;
  std::vector<std::thread> threads_;
  size_t busy_ = 0;
  bool ending_ = false;
};

/// An answer where there is no request to speak of.
void send_refusal(int socket, int status, std::string_view reason, const std::string& message) {
  const std::string body = to_text(refusal_json(Refusal(status, message)));
  const std::string text = fmt::format(
      "HTTP/1.1 {} {}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{}", status,
      reason, body.size(), body);
  std::ignore = send(socket, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

/// Lets the client read what was sent: closing with unread bytes would make the system throw it away.
void close_gently(int socket) {
  shutdown(socket, SHUT_WR);
  fcntl(socket, F_SETFL, fcntl(socket, F_GETFL) & ~O_NONBLOCK);
  std::array<char, 4096> rest;
  timeval limit{.tv_sec = 0, .tv_usec = 200'000};
  setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  const auto end = std::chrono::steady_clock::now() + kLinger;
  while (std::chrono::steady_clock::now() < end && recv(socket, rest.data(), rest.size(), 0) > 0) {
  }
  close(socket);
}

}  // namespace

class HttpServer::Impl : public httplib::Server {
 public:
  Impl(const HttpLimits& limits, HttpHandlers handlers, std::shared_ptr<const Tls> tls)
      : limits_(limits), handlers_(std::move(handlers)), tls_(std::move(tls)), most_(limits.connections) {
    new_task_queue = [this] { return new Threads(most_); };
    set_payload_max_length(static_cast<size_t>(limits_.body_bytes));
    set_tcp_nodelay(true);
    set_socket_options([](socket_t socket) {
      const int on = 1;
      setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    });
    set_pre_routing_handler(
        [this](const httplib::Request& request, httplib::Response& response) { return check(request, response); });
    const auto answer = [this](const httplib::Request& request, httplib::Response& response) {
      this->answer(request, response);
    };
    Get(".*", answer);
    Options(".*", answer);
    Delete(".*", Handler(answer));
    Post(".*", Handler(answer));
    Put(".*", Handler(answer));
    Patch(".*", Handler(answer));
    set_error_handler([this](const httplib::Request& request, httplib::Response& response) {
      if (!response.body.empty() || response.content_length_ > 0) return;
      current->close_after_reply();
      const int status = current->head_too_large() ? 431 : response.status;
      fill(handlers_.refuse(view(request), status), response);
    });
  }

  Status open(const std::string& host, int port) {
    port_ = port;
    if (port == 0) {
      port_ = bind_to_any_port(host);
    } else if (!bind_to_port(host, port)) {
      port_ = -1;
    }
    if (port_ < 0) {
      return fail(ErrorCode::kIo, fmt::format("{}:{}", host, port), "cannot be listened on: {}", std::strerror(errno));
    }
    // The library asks for a queue of five, which a burst of clients overflows.
    if (::listen(svr_sock_, kBacklog) != 0)
      return fail(ErrorCode::kIo, fmt::format("{}:{}", host, port), "{}", std::strerror(errno));
    return {};
  }

  void listen() {
    started_ = true;
    if (!stopping_) listen_after_bind();
    ended_ = true;
  }

  void end() {
    close_idle();
    while (started_ && !ended_ && !is_running()) std::this_thread::yield();
    Server::stop();
  }

  void close_idle() {
    stopping_ = true;
    const std::lock_guard lock(mutex_);
    for (const auto& [socket, idle] : sockets_) {
      if (idle) shutdown(socket, SHUT_RD);
    }
  }

  void cut_all() {
    const std::lock_guard lock(mutex_);
    for (const auto& [socket, idle] : sockets_) shutdown(socket, SHUT_RDWR);
  }

  int open_connections() const {
    const std::lock_guard lock(mutex_);
    return static_cast<int>(sockets_.size());
  }
  int port() const { return port_; }
  void set_connections(int most) { most_ = most; }

 private:
  bool process_and_close_socket(socket_t socket) override {
    if (full) {
      // Without encryption, which a full server does not begin, an encrypted client would not understand it.
      if (!tls_) send_refusal(socket, 503, "Service Unavailable", fmt::format("{} connections are open", most_.load()));
      close(socket);
      return true;
    }
    mark(socket, true);
    {
      Connection connection(socket, limits_, tls_ ? tls_->session(socket) : nullptr);
      current = &connection;
      if (connection.greet()) serve(connection);
      connection.end();
      current = nullptr;
    }
    {
      const std::lock_guard lock(mutex_);
      sockets_.erase(socket);
    }
    close_gently(socket);
    return true;
  }

  void serve(Connection& connection) {
    std::chrono::milliseconds wait = limits_.request;
    while (!stopping_ && connection.wait_for_request(wait)) {
      mark(connection.socket(), false);
      connection.begin_request();
      bool closed = false;
      const bool ok = process_request(connection, stopping_, closed, [](httplib::Request& request) {
        // Neither compressed answers nor parts of them.
        request.headers.erase("Accept-Encoding");
        request.headers.erase("Range");
        request.ranges.clear();
      });
      if (!ok || closed || connection.closing() || connection.head_too_large()) return;
      mark(connection.socket(), true);
      wait = limits_.idle;
    }
  }

  void mark(int socket, bool idle) {
    const std::lock_guard lock(mutex_);
    sockets_[socket] = idle;
  }

  static HttpRequest view(const httplib::Request& request) {
    Connection* connection = current;
    return {.method = request.method,
            .path = request.path,
            .body = request.body,
            .client = request.remote_addr,
            .header = [&request](const std::string& name) { return request.get_header_value(name); },
            .gone = [connection] { return connection->gone(); }};
  }

  HandlerResponse check(const httplib::Request& request, httplib::Response& response) {
    std::optional<Reply> reply;
    const std::string length = request.get_header_value("Content-Length");
    const bool has_body = (!length.empty() && length != "0") || request.has_header("Transfer-Encoding");
    const bool reads_body = request.method == "POST" || request.method == "PUT" || request.method == "PATCH";
    if (has_body && !reads_body) current->close_after_reply();
    if (request.path.size() > kMaxPath) {
      reply = handlers_.refuse(view(request), 414);
    } else if (request.has_header("Content-Encoding")) {
      reply = handlers_.refuse(view(request), 415);
    } else if (length.size() > 18 || std::strtoll(length.c_str(), nullptr, 10) > limits_.body_bytes) {
      reply = handlers_.refuse(view(request), 413);
    } else {
      reply = handlers_.check(view(request));
    }
    if (!reply) return HandlerResponse::Unhandled;
    // The body that was not read must not be taken for the next request.
    if (has_body) current->close_after_reply();
    fill(std::move(*reply), response);
    return HandlerResponse::Handled;
  }

  void answer(const httplib::Request& request, httplib::Response& response) {
    fill(handlers_.answer(view(request)), response);
  }

  static void fill(Reply reply, httplib::Response& response) {
    response.status = reply.status;
    for (const auto& [name, value] : reply.headers) response.set_header(name, value);
    if (current->closing()) response.set_header("Connection", "close");
    if (!reply.stream) {
      response.set_content(reply.body, reply.type);
      return;
    }
    response.set_chunked_content_provider(
        reply.type, [stream = std::move(reply.stream)](size_t /*offset*/, httplib::DataSink& sink) {
          stream([&](std::string_view piece) { return sink.write(piece.data(), piece.size()); });
          sink.done();
          return true;
        });
  }

  HttpLimits limits_;
  HttpHandlers handlers_;
  std::shared_ptr<const Tls> tls_;
  std::atomic<int> most_;  ///< connections
  int port_ = -1;
  std::atomic<bool> started_ = false;
  std::atomic<bool> stopping_ = false;
  std::atomic<bool> ended_ = false;
  mutable std::mutex mutex_;
  std::map<int, bool> sockets_;  ///< open ones, and whether they wait for a request
};

HttpServer::HttpServer(const HttpLimits& limits, HttpHandlers handlers, std::shared_ptr<const Tls> tls)
    : impl_(std::make_unique<Impl>(limits, std::move(handlers), std::move(tls))) {}
HttpServer::~HttpServer() = default;

Status HttpServer::bind(const std::string& host, int port) {
  return impl_->open(host, port);
}

int HttpServer::port() const {
  return impl_->port();
}

void HttpServer::run() {
  impl_->listen();
}

void HttpServer::stop() {
  impl_->end();
}

void HttpServer::cut() {
  impl_->cut_all();
}

int HttpServer::connections() const {
  return impl_->open_connections();
}

void HttpServer::set_connections(int most) {
  impl_->set_connections(most);
}

}  // namespace lamina::serve
