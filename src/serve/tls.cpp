#include "serve/tls.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>

#include <array>
#include <csignal>

namespace lamina::serve {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

namespace {

std::string last_reason() {
  std::array<char, 256> text{};
  ERR_error_string_n(ERR_get_error(), text.data(), text.size());
  ERR_clear_error();
  return text.data();
}

Result<std::shared_ptr<SSL_CTX>> read_context(const std::string& certificate, const std::string& key) {
  ERR_clear_error();
  std::shared_ptr<SSL_CTX> context(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
  if (!context) return fail(ErrorCode::kIo, "TLS", "{}", last_reason());
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_mode(context.get(),
                   SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  if (SSL_CTX_use_certificate_chain_file(context.get(), certificate.c_str()) != 1)
    return fail(ErrorCode::kInvalid, certificate, "is no certificate in PEM: {}", last_reason());
  if (SSL_CTX_use_PrivateKey_file(context.get(), key.c_str(), SSL_FILETYPE_PEM) != 1)
    return fail(ErrorCode::kInvalid, key, "is no key in PEM for {}: {}", certificate, last_reason());
  if (SSL_CTX_check_private_key(context.get()) != 1)
    return fail(ErrorCode::kInvalid, key, "is the key of another certificate than {}", certificate);
  return context;
}

}  // namespace

Result<std::shared_ptr<Tls>> Tls::open(std::string certificate, std::string key) {
  std::shared_ptr<Tls> tls(new Tls(std::move(certificate), std::move(key)));
  LAMINA_CHECK_OK(tls->reload());
  return tls;
}

Status Tls::reload() {
  LAMINA_ASSIGN(std::shared_ptr<SSL_CTX> context, read_context(certificate_, key_));
  const std::lock_guard lock(mutex_);
  context_ = std::move(context);
  return {};
}

std::unique_ptr<TlsSession> Tls::session(int socket) const {
  const std::lock_guard lock(mutex_);
  return std::make_unique<TlsSession>(context_, socket);
}

TlsSession::TlsSession(std::shared_ptr<SSL_CTX> context, int socket)
    : context_(std::move(context)), ssl_(SSL_new(context_.get())) {
  // The library writes to sockets in a way that raises a signal when the client has gone.
  sigset_t pipe;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
  fcntl(socket, F_SETFL, fcntl(socket, F_GETFL) | O_NONBLOCK);
  broken_ = ssl_ == nullptr || SSL_set_fd(ssl_, socket) != 1;
}

TlsSession::~TlsSession() {
  SSL_free(ssl_);
}

TlsState TlsSession::state_of(int result) const {
  switch (SSL_get_error(ssl_, result)) {
    case SSL_ERROR_NONE:
      return TlsState::kDone;
    case SSL_ERROR_WANT_READ:
      return TlsState::kWantsRead;
    case SSL_ERROR_WANT_WRITE:
      return TlsState::kWantsWrite;
    default:
      return TlsState::kEnded;
  }
}

TlsState TlsSession::greet() {
  if (broken_) return TlsState::kEnded;
  ERR_clear_error();
  const TlsState state = state_of(SSL_accept(ssl_));
  broken_ = state == TlsState::kEnded;
  return state;
}

TlsState TlsSession::read(char* data, size_t size, size_t& count) {
  if (broken_) return TlsState::kEnded;
  ERR_clear_error();
  const TlsState state = state_of(SSL_read_ex(ssl_, data, size, &count));
  broken_ = state == TlsState::kEnded;
  return state;
}

TlsState TlsSession::write(const char* data, size_t size, size_t& count) {
  if (broken_) return TlsState::kEnded;
  ERR_clear_error();
  const TlsState state = state_of(SSL_write_ex(ssl_, data, size, &count));
  broken_ = state == TlsState::kEnded;
  return state;
}

bool TlsSession::pending() const {
  return !broken_ && SSL_pending(ssl_) > 0;
}

void TlsSession::end() {
  if (!broken_) SSL_shutdown(ssl_);
}

}  // namespace lamina::serve
