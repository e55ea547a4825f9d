#pragma once

#include <cstdint>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

#include "serve/reply.h"

namespace lamina::serve {

/// An answer of /v1/responses that may be asked for again or gone on from.
struct KeptResponse {
  uint64_t tenant = 0;  ///< others do not see it
  Json response;        ///< as it was told
  Json messages;        ///< the conversation with the answer, without instructions
};

struct StoreLimits {
  size_t count = 1024;
  size_t bytes = 64 << 20;  ///< of them all, as text
};

/// Keeps answers in memory; when there are too many, the one that was used longest ago goes. Any thread may use it.
class ResponseStore {
 public:
  explicit ResponseStore(const StoreLimits& limits = {}) : limits_(limits) {}

  /// One that is larger than the whole store is not kept.
  void add(const std::string& id, KeptResponse kept);
  std::optional<KeptResponse> find(const std::string& id, uint64_t tenant);
  /// False when there is none.
  bool remove(const std::string& id, uint64_t tenant);
  size_t bytes() const;

 private:
  struct Entry {
    std::string id;
    KeptResponse kept;
    size_t bytes = 0;
  };
  using Entries = std::list<Entry>;

  void erase(Entries::iterator entry);

  StoreLimits limits_;
  mutable std::mutex mutex_;
  Entries entries_;  ///< the one that was used last first
  std::unordered_map<std::string, Entries::iterator> by_id_;
  size_t bytes_ = 0;
};

}  // namespace lamina::serve
