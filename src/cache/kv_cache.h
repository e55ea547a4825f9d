#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/memory.h"
#include "core/result.h"
#include "kernels/attention.h"

namespace lamina::cache {

/// What one visit of a layer in the route keeps: of each token keys and values, of each sequence a state.
struct VisitShape {
  int64_t kv_heads = 0;
  int64_t key_size = 0;
  int64_t value_size = 0;
  kernels::CacheFormat format = kernels::CacheFormat::kF32;
  bool joined = false;       ///< the first value_size numbers of a key are its value: one row is kept for both
  int64_t state_floats = 0;  ///< numbers of a recurrent state; 0: none

  bool keeps_keys() const { return kv_heads > 0; }
  bool keeps_state() const { return state_floats > 0; }
};

/// Names an open sequence of a cache.
struct SequenceId {
  int32_t index = -1;
  bool operator==(const SequenceId&) const = default;
};

struct KvCacheOptions {
  std::vector<VisitShape> visits;  ///< by visit in the route; kv_heads 0: the visit keeps nothing
  int64_t tokens = 0;              ///< of all sequences together; each sequence takes whole blocks of 64
  int64_t sequence_tokens = 0;     ///< the longest sequence; 0: `tokens`
  int32_t sequences = 1;           ///< open at once
};

/// Keeps every key and value of the open sequences, in blocks of 64 positions from a pool that is made once. Each visit
/// has its part of the pool; a block of it holds the key chunks of all heads, then their value chunks, as
/// kernels::attention reads them. Joined visits have only the latter, with whole keys in them. Beside the blocks, each
/// sequence has the recurrent states of the visits that keep one. A state stands for all positions below length() and
/// cannot be rewound: a sequence with states is kept whole or starts again from nothing.
/// open, reserve, truncate, fork and close need exclusive access; write (at different places) and reading do not.
class KvCache {
 public:
  /// Bytes that a cache of these options takes, pointer tables included.
  static int64_t bytes(const KvCacheOptions& options);
  /// kInvalid for impossible shapes, kLimit when the system lacks the memory.
  static core::Result<KvCache> create(const KvCacheOptions& options);

  /// A new, empty sequence. kLimit when `sequences` are open.
  core::Result<SequenceId> open();
  /// Makes room for positions below `tokens`; keeps what is there. kLimit, with nothing changed, when too few blocks
  /// are free or the sequence would become too long.
  core::Status reserve(SequenceId sequence, int64_t tokens);
  /// Declares positions below `tokens` written, after reserve.
  void set_length(SequenceId sequence, int64_t tokens);
  int64_t length(SequenceId sequence) const;
  /// Positions below this can be written.
  int64_t reserved(SequenceId sequence) const;
  /// Forgets positions from `length` on and frees their blocks. Returns the length that remains: `length` or what the
  /// sequence has, whichever is less; 0 when something was to be forgotten that a state holds.
  [[nodiscard]] int64_t truncate(SequenceId sequence, int64_t length);
  /// A new sequence with a copy of the first `length` positions of another, or, where states do not let these be told
  /// apart, of none: length() says how many. kLimit as open and reserve.
  core::Result<SequenceId> fork(SequenceId source, int64_t length);
  void close(SequenceId sequence);

  /// Stores one position's keys [kv_heads][key_size] and values [kv_heads][value_size], reserved before. Joined visits
  /// read no values.
  void write(int64_t visit, SequenceId sequence, int64_t position, const float* keys, const float* values);
  /// Chunk pointers by position / 64, one per reserved block. The span's address is stable while the sequence is open.
  /// Joined visits have no key chunks: an empty span without an address.
  std::span<const std::byte* const> key_chunks(int64_t visit, SequenceId sequence, int64_t kv_head) const;
  std::span<const std::byte* const> value_chunks(int64_t visit, SequenceId sequence, int64_t kv_head) const;
  /// The visit's state of that sequence: state_floats numbers after length() positions, 0 at the start, aligned to a
  /// cache line. Whoever computes the next positions leaves the state after them here.
  float* state(int64_t visit, SequenceId sequence);

  int64_t block_count() const { return blocks_; }
  int64_t free_blocks() const { return static_cast<int64_t>(free_.size()); }
  std::span<const VisitShape> visits() const { return visits_; }

 private:
  /// A visit's part of the pool, and its rows in a sequence's pointer table: keys by head, then values by head.
  struct Place {
    int64_t offset = 0;
    int64_t bytes = 0;
    int64_t key_bytes = 0;
    int64_t value_bytes = 0;
    int64_t first_row = 0;
    int64_t state = 0;  ///< offset of the state in a sequence's states
  };
  /// The vectors get their full capacity at construction.
  struct Sequence {
    bool open = false;
    int64_t length = 0;
    std::vector<int32_t> blocks;
    std::vector<const std::byte*> pointers;  ///< [row][sequence_blocks_]
  };

  KvCache() = default;
  int64_t plan(const KvCacheOptions& options);
  Sequence& at(SequenceId id);
  const Sequence& at(SequenceId id) const;
  void append_block(Sequence& sequence);
  void drop_blocks(Sequence& sequence, int64_t keep);
  /// All states of a sequence.
  std::span<std::byte> states_of(SequenceId id);
  void clear_states(SequenceId id);
  std::span<const std::byte* const> row(int64_t index, SequenceId id) const;

  std::vector<VisitShape> visits_;
  std::vector<Place> places_;
  int64_t rows_ = 0;
  int64_t blocks_ = 0;
  int64_t sequence_blocks_ = 0;
  int64_t block_bytes_ = 0;
  std::vector<int32_t> free_;
  std::vector<Sequence> sequences_;
  core::AlignedBuffer pool_;
  int64_t state_bytes_ = 0;     ///< of the states of a sequence
  core::AlignedBuffer states_;  ///< [sequence]
};

}  // namespace lamina::cache
