#include "serve/response_store.h"

namespace lamina::serve {

void ResponseStore::add(const std::string& id, KeptResponse kept) {
  const size_t bytes = to_text(kept.response).size() + to_text(kept.messages).size();
  if (bytes > limits_.bytes || limits_.count == 0) return;
  const std::lock_guard lock(mutex_);
  entries_.push_front({.id = id, .kept = std::move(kept), .bytes = bytes});
  by_id_[id] = entries_.begin();
  bytes_ += bytes;
  while (bytes_ > limits_.bytes || entries_.size() > limits_.count) erase(std::prev(entries_.end()));
}

std::optional<KeptResponse> ResponseStore::find(const std::string& id, uint64_t tenant) {
  const std::lock_guard lock(mutex_);
  const auto found = by_id_.find(id);
  if (found == by_id_.end() || found->second->kept.tenant != tenant) return std::nullopt;
  entries_.splice(entries_.begin(), entries_, found->second);
  return entries_.front().kept;
}

bool ResponseStore::remove(const std::string& id, uint64_t tenant) {
  const std::lock_guard lock(mutex_);
  const auto found = by_id_.find(id);
  if (found == by_id_.end() || found->second->kept.tenant != tenant) return false;
  erase(found->second);
  return true;
}

size_t ResponseStore::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

void ResponseStore::erase(Entries::iterator entry) {
  bytes_ -= entry->bytes;
  by_id_.erase(entry->id);
  entries_.erase(entry);
}

}  // namespace lamina::serve
