#include "serve/connection.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace lamina::serve {

using std::chrono::duration_cast;
using std::chrono::milliseconds;

namespace {

/// The address of one end of a socket, as `name` tells it.
template <typename Name>
void address_of(int socket, Name name, std::string& ip, int& port) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (name(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) return;
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (address.ss_family == AF_INET) {
    const auto& four = reinterpret_cast<const sockaddr_in&>(address);
    inet_ntop(AF_INET, &four.sin_addr, text.data(), text.size());
    port = ntohs(four.sin_port);
  } else if (address.ss_family == AF_INET6) {
    const auto& six = reinterpret_cast<const sockaddr_in6&>(address);
    inet_ntop(AF_INET6, &six.sin6_addr, text.data(), text.size());
    port = ntohs(six.sin6_port);
  }
  ip = text.data();
}

}  // namespace

bool Connection::wait(short events, milliseconds time) const {
  const auto end = Clock::now() + time;
  while (true) {
    const auto left = std::max(duration_cast<milliseconds>(end - Clock::now()), milliseconds(0));
    pollfd entry{.fd = socket_, .events = events, .revents = 0};
    const int found = poll(&entry, 1, static_cast<int>(left.count()));
    if (found >= 0 || errno != EINTR) return found > 0;
  }
}

/// Waits for what the encryption wants of the socket.
bool Connection::wait_until(TlsState state, Clock::time_point end) const {
  if (state != TlsState::kWantsRead && state != TlsState::kWantsWrite) return false;
  const auto left = std::max(duration_cast<milliseconds>(end - Clock::now()), milliseconds(0));
  return wait(state == TlsState::kWantsRead ? POLLIN : POLLOUT, left);
}

bool Connection::greet() {
  if (!tls_) return true;
  const auto end = Clock::now() + limits_.request;
  while (true) {
    const TlsState state = tls_->greet();
    if (state == TlsState::kDone) return true;
    if (!wait_until(state, end)) return false;
  }
}

void Connection::end() {
  if (tls_) tls_->end();
}

bool Connection::wait_for_request(milliseconds time) const {
  return begin_ < end_ || (tls_ && tls_->pending()) || wait(POLLIN, time);
}

void Connection::begin_request() {
  deadline_ = Clock::now() + limits_.request;
  in_head_ = true;
  head_bytes_ = 0;
  line_bytes_ = 0;
}

bool Connection::gone() const {
  pollfd entry{.fd = socket_, .events = POLLRDHUP, .revents = 0};
  return poll(&entry, 1, 0) > 0 && (entry.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) != 0;
}

bool Connection::is_readable() const {
  if (begin_ < end_ || (tls_ && tls_->pending())) return true;
  return wait(POLLIN, std::max(duration_cast<milliseconds>(deadline_ - Clock::now()), milliseconds(0)));
}

bool Connection::is_writable() const {
  return wait(POLLOUT, limits_.write);
}

/// Bytes from the client into the buffer: how many, 0 at the end, or -1.
ssize_t Connection::receive() {
  if (!is_readable()) return -1;
  ssize_t got = 0;
  if (!tls_) {
    do got = recv(socket_, buffer_.data(), buffer_.size(), 0);
    while (got < 0 && errno == EINTR);
    return got;
  }
  while (true) {
    size_t count = 0;
    const TlsState state = tls_->read(buffer_.data(), buffer_.size(), count);
    if (state == TlsState::kDone) return static_cast<ssize_t>(count);
    if (!wait_until(state, deadline_)) return -1;
  }
}

ssize_t Connection::read(char* data, size_t size) {
  if (begin_ == end_) {
    const ssize_t got = receive();
    if (got <= 0) return got;
    begin_ = 0;
    end_ = static_cast<size_t>(got);
  }
  const size_t count = std::min(size, end_ - begin_);
  if (!watch_head(buffer_.data() + begin_, count)) return -1;
  std::memcpy(data, buffer_.data() + begin_, count);
  begin_ += count;
  return static_cast<ssize_t>(count);
}

/// Counts the bytes up to the empty line that ends a request's head; false when there are too many.
bool Connection::watch_head(const char* data, size_t size) {
  for (size_t i = 0; i < size && in_head_; ++i) {
    if (++head_bytes_ > limits_.header_bytes) {
      head_too_large_ = true;
      return false;
    }
    if (data[i] == '\n') {
      in_head_ = line_bytes_ > 0;
      line_bytes_ = 0;
    } else if (data[i] != '\r') {
      ++line_bytes_;
    }
  }
  return true;
}

ssize_t Connection::write(const char* data, size_t size) {
  if (!is_writable()) return -1;
  if (tls_) {
    const auto end = Clock::now() + limits_.write;
    while (true) {
      size_t count = 0;
      const TlsState state = tls_->write(data, size, count);
      if (state == TlsState::kDone) return static_cast<ssize_t>(count);
      if (!wait_until(state, end)) return -1;
    }
  }
  ssize_t sent = 0;
  do sent = send(socket_, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
  while (sent < 0 && errno == EINTR);
  return sent;
}

void Connection::get_remote_ip_and_port(std::string& ip, int& port) const {
  address_of(socket_, getpeername, ip, port);
}

void Connection::get_local_ip_and_port(std::string& ip, int& port) const {
  address_of(socket_, getsockname, ip, port);
}

}  // namespace lamina::serve
