#pragma once

#include <httplib.h>

#include <array>
#include <chrono>
#include <string>

#include "serve/http_limits.h"
#include "serve/tls.h"

namespace lamina::serve {

/// A client's socket with limits on what a request's head may have and on how long a request may take to arrive.
class Connection : public httplib::Stream {
 public:
  /// `tls` null: not encrypted.
  Connection(int socket, const HttpLimits& limits, std::unique_ptr<TlsSession> tls)
      : socket_(socket), limits_(limits), tls_(std::move(tls)) {}

  /// Agrees with the client on encryption, if there is any; false when they do not.
  bool greet();
  /// Tells the client that nothing more comes.
  void end();

  /// Waits for the first byte of a request; false when there will be none.
  bool wait_for_request(std::chrono::milliseconds wait) const;
  void begin_request();
  /// Whether the client has closed its side.
  bool gone() const;
  /// No request may follow: what is left of this one was not read.
  void close_after_reply() { closing_ = true; }
  bool closing() const { return closing_; }
  bool head_too_large() const { return head_too_large_; }

  bool is_readable() const override;
  bool is_writable() const override;
  ssize_t read(char* data, size_t size) override;
  ssize_t write(const char* data, size_t size) override;
  void get_remote_ip_and_port(std::string& ip, int& port) const override;
  void get_local_ip_and_port(std::string& ip, int& port) const override;
  socket_t socket() const override { return socket_; }

 private:
  using Clock = std::chrono::steady_clock;
  bool wait(short events, std::chrono::milliseconds time) const;
  bool wait_until(TlsState state, Clock::time_point end) const;
  ssize_t receive();
  bool watch_head(const char* data, size_t size);

  int socket_;
  const HttpLimits& limits_;
  std::unique_ptr<TlsSession> tls_;
  std::array<char, 8192> buffer_;
  size_t begin_ = 0;
  size_t end_ = 0;
  Clock::time_point deadline_;
  bool in_head_ = true;
  bool head_too_large_ = false;
  bool closing_ = false;
  int64_t head_bytes_ = 0;
  int64_t line_bytes_ = 0;
};

}  // namespace lamina::serve
