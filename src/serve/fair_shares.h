#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace lamina::serve {

/// How much work each client has been given, so that the one with the least comes next (virtual token counters: Sheng
/// et al., arXiv 2401.00588, algorithm 2). Whoever comes back begins no lower than the least of those who are there:
/// time in which nothing was asked for is not saved up.
class FairShares {
 public:
  /// The client has one text more here, or one less.
  void join(const std::string& client);
  void leave(const std::string& client);
  /// Rows were computed for it.
  void give(const std::string& client, int64_t rows);
  int64_t given(const std::string& client) const;

 private:
  struct Share {
    int64_t texts = 0;
    int64_t given = 0;
  };

  std::map<std::string, Share> shares_;
};

/// Who comes first: the lower number of priority, then the client that was given less, then who came first.
struct Turn {
  int priority = 0;
  int64_t given = 0;
  uint64_t arrival = 0;
  auto operator<=>(const Turn&) const = default;
};

}  // namespace lamina::serve
