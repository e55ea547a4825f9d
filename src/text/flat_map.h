#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lamina::text {

/// A hash of 64 good bits, of short texts in a few steps. Not the same on every machine.
inline uint64_t hash_bytes(std::string_view text) {
  __extension__ using Wide = unsigned __int128;
  constexpr uint64_t kFirst = 0xA0761D6478BD642FULL;
  constexpr uint64_t kSecond = 0xE7037ED1A0B428DBULL;
  const auto mix = [](uint64_t a, uint64_t b) {
    const Wide product = Wide{a} * b;
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  };
  const auto load = [&]<typename T>(size_t at, T value) -> uint64_t {
    std::memcpy(&value, text.data() + at, sizeof(T));
    return value;
  };
  const size_t size = text.size();
  uint64_t a = 0;
  uint64_t b = 0;
  uint64_t seed = kFirst;
  if (size >= 8) {
    for (size_t at = 0; at + 16 < size; at += 16) {
      seed = mix(load(at, uint64_t{}) ^ kSecond, load(at + 8, uint64_t{}) ^ seed);
    }
    a = size > 16 ? load(size - 16, uint64_t{}) : load(0, uint64_t{});
    b = load(size - 8, uint64_t{});
  } else if (size >= 4) {
    a = load(0, uint32_t{});
    b = load(size - 4, uint32_t{});
  } else if (size > 0) {
    a = load(0, uint8_t{}) << 16 | load(size / 2, uint8_t{}) << 8 | load(size - 1, uint8_t{});
  }
  return mix(kSecond ^ size, mix(a ^ kSecond, b ^ seed));
}

/// Map from 64-bit keys (any but ~0) to 64-bit values: open addressing, one cache line per look-up most of the time.
class FlatMap {
 public:
  void reserve(size_t count) {
    if (count * 2 > slots_.size()) rehash(std::bit_ceil(count * 2 + 2));
  }

  /// Adds the key if it is new and says whether it was.
  bool insert(uint64_t key, uint64_t value) {
    reserve(size_ + 1);
    Slot& slot = slots_[locate(key)];
    if (slot.key != kEmpty) return false;
    slot = {key, value};
    ++size_;
    return true;
  }

  /// The value of `key`, or null.
  const uint64_t* find(uint64_t key) const {
    if (slots_.empty()) return nullptr;
    const Slot& slot = slots_[locate(key)];
    return slot.key == kEmpty ? nullptr : &slot.value;
  }

  size_t size() const { return size_; }

 private:
  static constexpr uint64_t kEmpty = ~uint64_t{0};
  struct Slot {
    uint64_t key = kEmpty;
    uint64_t value = 0;
  };

  size_t locate(uint64_t key) const {
    const size_t mask = slots_.size() - 1;
    uint64_t mixed = (key ^ (key >> 32)) * 0x9E3779B97F4A7C15ULL;
    mixed ^= mixed >> 29;
    size_t index = mixed & mask;
    while (slots_[index].key != kEmpty && slots_[index].key != key) index = (index + 1) & mask;
    return index;
  }

  void rehash(size_t count) {
    std::vector<Slot> old = std::exchange(slots_, std::vector<Slot>(count));
    for (const Slot& slot : old) {
      if (slot.key != kEmpty) slots_[locate(slot.key)] = slot;
    }
  }

  std::vector<Slot> slots_;
  size_t size_ = 0;
};

/// Map from strings to token ids, which are at least 0. Keys lie in one block of memory.
class StringMap {
 public:
  /// Makes room for `count` keys of `bytes` bytes together.
  void reserve(size_t count, size_t bytes) {
    keys_.reserve(bytes);
    entries_.reserve(count);
    if (count > room(slots_.size())) rehash(std::bit_ceil(count * 3 / 2 + 14));
  }

  /// Adds the key if it is new and says whether it was.
  bool insert(std::string_view key, int32_t value) {
    if (entries_.size() + 1 > room(slots_.size())) rehash(std::bit_ceil(entries_.size() * 2 + 14));
    const uint32_t hash = hash_of(key);
    Slot& slot = slots_[locate(key, hash)];
    if (slot.number != 0) return false;
    entries_.push_back({keys_.size(), static_cast<uint32_t>(key.size()), value});
    slot = {hash, static_cast<uint32_t>(entries_.size())};
    keys_.append(key);
    return true;
  }

  /// The id of `key`, or -1.
  int32_t find(std::string_view key) const {
    if (slots_.empty()) return -1;
    const uint32_t number = slots_[locate(key, hash_of(key))].number;
    return number == 0 ? -1 : entries_[number - 1].value;
  }

  size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    uint64_t offset = 0;
    uint32_t length = 0;
    int32_t value = -1;
  };
  struct Slot {
    uint32_t hash = 0;
    uint32_t number = 0;  ///< of the entry, from 1 on; 0: none
  };

  /// How many of so many slots may be taken.
  static size_t room(size_t slots) { return slots / 3 * 2; }
  static uint32_t hash_of(std::string_view key) { return static_cast<uint32_t>(hash_bytes(key) >> 32); }

  size_t locate(std::string_view key, uint32_t hash) const {
    const size_t mask = slots_.size() - 1;
    size_t index = hash & mask;
    while (slots_[index].number != 0) {
      const Slot& slot = slots_[index];
      if (slot.hash == hash) {
        const Entry& entry = entries_[slot.number - 1];
        if (std::string_view(keys_).substr(entry.offset, entry.length) == key) break;
      }
      index = (index + 1) & mask;
    }
    return index;
  }

  void rehash(size_t count) {
    const std::vector<Slot> old = std::exchange(slots_, std::vector<Slot>(count));
    const size_t mask = count - 1;
    for (const Slot& slot : old) {
      if (slot.number == 0) continue;
      size_t index = slot.hash & mask;
      while (slots_[index].number != 0) index = (index + 1) & mask;
      slots_[index] = slot;
    }
  }

  std::string keys_;
  std::vector<Entry> entries_;
  std::vector<Slot> slots_;
};

}  // namespace lamina::text
