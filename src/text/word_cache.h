#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace lamina::text {

/// The ids of short words met lately, of any model: what a hit gives is what the model would give. One thread at a
/// time.
class WordCache {
 public:
  /// One for as long as a text is encoded. As many are kept for others as the machine has processors, however many
  /// threads there are: each takes a megabyte.
  class Lease {
   public:
    Lease();
    ~Lease();
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    WordCache& operator*() const { return *cache_; }

   private:
    std::unique_ptr<WordCache> cache_;
  };

  /// Appends the ids of `word` under the model `owner`, if they are here, and says so.
  bool take(uint32_t owner, std::string_view word, std::vector<int32_t>& ids) const;
  /// Keeps them, in place of those of another word, unless there is too much of either.
  void keep(uint32_t owner, std::string_view word, std::span<const int32_t> ids);

 private:
  static constexpr size_t kEntries = size_t{1} << 14;
  static constexpr size_t kMaxBytes = 26;
  static constexpr size_t kMaxIds = 8;

  struct alignas(64) Entry {
    uint32_t owner = 0;  ///< 0: empty
    uint8_t bytes = 0;
    uint8_t count = 0;
    char text[kMaxBytes] = {};
    int32_t ids[kMaxIds] = {};
  };

  WordCache() : entries_(kEntries) {}
  static size_t place(uint32_t owner, std::string_view word);

  std::vector<Entry> entries_;
};

}  // namespace lamina::text
