#pragma once

#include <cassert>
#include <cstdint>
#include <vector>

namespace lamina::cache {

/// Which blocks of a pool are taken, and by how many. Pieces of kept texts are among the holders: a block that they
/// alone hold is idle, and can be had when they give it up.
class BlockPool {
 public:
  BlockPool() = default;
  explicit BlockPool(int64_t blocks) : holders_(static_cast<size_t>(blocks)), kept_(static_cast<size_t>(blocks)) {
    free_.reserve(static_cast<size_t>(blocks));
    for (int64_t i = blocks; i > 0; --i) free_.push_back(static_cast<int32_t>(i - 1));
  }

  int64_t size() const { return static_cast<int64_t>(holders_.size()); }
  int64_t free() const { return static_cast<int64_t>(free_.size()); }
  int64_t idle() const { return idle_; }
  bool is_idle(int32_t block) const { return kept_[at(block)] > 0 && kept_[at(block)] == holders_[at(block)]; }
  bool is_shared(int32_t block) const { return holders_[at(block)] > 1; }

  /// A free block, held once from now on; there must be one.
  int32_t take() {
    assert(!free_.empty());
    const int32_t block = free_.back();
    free_.pop_back();
    holders_[at(block)] = 1;
    return block;
  }
  void hold(int32_t block) { change(block, 1, 0); }
  /// The block is free when nobody holds it any more.
  void drop(int32_t block) { change(block, -1, 0); }
  /// As hold() and drop(), for a piece of a kept text.
  void keep(int32_t block) { change(block, 1, 1); }
  void give_up(int32_t block) { change(block, -1, -1); }

 private:
  static size_t at(int32_t block) { return static_cast<size_t>(block); }

  void change(int32_t block, int32_t holders, int32_t kept) {
    idle_ -= is_idle(block) ? 1 : 0;
    holders_[at(block)] += holders;
    kept_[at(block)] += kept;
    assert(kept_[at(block)] >= 0 && holders_[at(block)] >= kept_[at(block)]);
    if (holders_[at(block)] == 0) free_.push_back(block);
    idle_ += is_idle(block) ? 1 : 0;
  }

  std::vector<int32_t> holders_;
  std::vector<int32_t> kept_;  ///< of the holders, pieces of kept texts
  std::vector<int32_t> free_;
  int64_t idle_ = 0;
};

}  // namespace lamina::cache
