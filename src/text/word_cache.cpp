#include "text/word_cache.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <thread>

#include "text/flat_map.h"

namespace lamina::text {
namespace {

/// Caches that nobody uses now; the one used last is taken first.
struct Idle {
  std::mutex mutex;
  std::vector<std::unique_ptr<WordCache>> caches;
};

Idle& idle() {
  static Idle all;
  return all;
}

}  // namespace

WordCache::Lease::Lease() {
  {
    const std::lock_guard lock(idle().mutex);
    if (!idle().caches.empty()) {
      cache_ = std::move(idle().caches.back());
      idle().caches.pop_back();
    }
  }
  if (cache_ == nullptr) cache_.reset(new WordCache);
}

WordCache::Lease::~Lease() {
  static const size_t most = std::max(1U, std::thread::hardware_concurrency());
  const std::lock_guard lock(idle().mutex);
  if (idle().caches.size() < most) idle().caches.push_back(std::move(cache_));
}

size_t WordCache::place(uint32_t owner, std::string_view word) {
  return (hash_bytes(word) + owner * uint64_t{0x9E3779B97F4A7C15}) >> 50;
}

bool WordCache::take(uint32_t owner, std::string_view word, std::vector<int32_t>& ids) const {
  if (word.size() > kMaxBytes) return false;
  const Entry& entry = entries_[place(owner, word)];
  if (entry.owner != owner || entry.bytes != word.size()) return false;
  if (std::memcmp(entry.text, word.data(), word.size()) != 0) return false;
  ids.insert(ids.end(), entry.ids, entry.ids + entry.count);
  return true;
}

void WordCache::keep(uint32_t owner, std::string_view word, std::span<const int32_t> ids) {
  if (word.size() > kMaxBytes || ids.size() > kMaxIds) return;
  Entry& entry = entries_[place(owner, word)];
  entry.owner = owner;
  entry.bytes = static_cast<uint8_t>(word.size());
  entry.count = static_cast<uint8_t>(ids.size());
  std::ranges::copy(word, entry.text);
  std::ranges::copy(ids, entry.ids);
}

}  // namespace lamina::text
