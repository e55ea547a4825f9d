#pragma once

#include <chrono>
#include <cstdint>

namespace lamina::serve {

/// What a client may use.
struct HttpLimits {
  int connections = 1024;
  int64_t header_bytes = 32 << 10;
  int64_t body_bytes = 16 << 20;
  std::chrono::milliseconds request{30'000};  ///< from a request's first byte to its last
  std::chrono::milliseconds idle{60'000};     ///< between two requests of a connection
  std::chrono::milliseconds write{30'000};    ///< in which a client must take something
};

}  // namespace lamina::serve
