#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "serve/http_limits.h"
#include "serve/reply.h"
#include "serve/tls.h"

namespace lamina::serve {

/// A request as routes see it. `body` is empty while only the head is there.
struct HttpRequest {
  const std::string& method;
  const std::string& path;
  const std::string& body;
  const std::string& client;                                     ///< its address
  std::function<std::string(const std::string& name)> header{};  ///< a header's value; empty when it is not there
  std::function<bool()> gone{};                                  ///< whether the client has left
};

/// What decides about requests.
struct HttpHandlers {
  /// Sees a request's head before its body is read; a reply ends it there.
  std::function<std::optional<Reply>(const HttpRequest& request)> check;
  /// Answers a whole request.
  std::function<Reply(const HttpRequest& request)> answer;
  /// Turns what the HTTP layer refuses by itself into a reply.
  std::function<Reply(const HttpRequest& request, int status)> refuse;
};

/// HTTP/1.1 over sockets: a thread for each connection, limits on all that a client can use.
class HttpServer {
 public:
  /// `tls` null: not encrypted.
  HttpServer(const HttpLimits& limits, HttpHandlers handlers, std::shared_ptr<const Tls> tls);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  /// kIo: the address cannot be had. Port 0: any free one.
  core::Status bind(const std::string& host, int port);
  int port() const;
  /// Answers until stop(); returns when the last connection is closed.
  void run();
  /// Takes no more connections and closes those that wait for a request; what is being answered goes on. May be called
  /// from another thread.
  void stop();
  /// Cuts all connections.
  void cut();
  /// Connections that are open.
  int connections() const;
  /// How many may be from now on.
  void set_connections(int most);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lamina::serve
