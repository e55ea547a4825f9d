#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <string>

#include "core/result.h"

using SSL = struct ssl_st;
using SSL_CTX = struct ssl_ctx_st;

namespace lamina::serve {

/// What a try to read, write or greet came to.
enum class TlsState { kDone, kWantsRead, kWantsWrite, kEnded };

/// One connection's encryption over a socket that does not block. Belongs to one thread.
class TlsSession {
 public:
  TlsSession(std::shared_ptr<SSL_CTX> context, int socket);
  ~TlsSession();
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;

  TlsState greet();
  /// `count` is how many bytes came or went when it is done.
  TlsState read(char* data, size_t size, size_t& count);
  TlsState write(const char* data, size_t size, size_t& count);
  /// Whether bytes have come that no poll of the socket tells of.
  bool pending() const;
  /// Says that nothing more will be sent.
  void end();

 private:
  TlsState state_of(int result) const;

  std::shared_ptr<SSL_CTX> context_;
  SSL* ssl_ = nullptr;
  bool broken_ = false;
};

/// A server's certificate and key.
class Tls {
 public:
  /// Two files in PEM: the certificate with those that it rests on, and its key. kCorrupt, kInvalid: no certificate, no
  /// key, or a key of another certificate.
  static core::Result<std::shared_ptr<Tls>> open(std::string certificate, std::string key);
  /// Reads the files again, for connections that come; on an error the ones before stay.
  core::Status reload();
  std::unique_ptr<TlsSession> session(int socket) const;

 private:
  Tls(std::string certificate, std::string key) : certificate_(std::move(certificate)), key_(std::move(key)) {}

  std::string certificate_;
  std::string key_;
  mutable std::mutex mutex_;
  std::shared_ptr<SSL_CTX> context_;
};

}  // namespace lamina::serve
