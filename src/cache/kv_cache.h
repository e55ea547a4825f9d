#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "cache/block_pool.h"
#include "cache/prefix_tree.h"
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
  int64_t window = 0;        ///< positions that a row reads, its own the last; 0: all

  bool keeps_keys() const { return kv_heads > 0; }
  /// Bytes of the keys and values of one position, scales included.
  int64_t position_bytes() const;
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
  int64_t step_tokens = 0;         ///< written to a sequence before set_length, at most; 0: as many as it holds
  bool keeps_texts = false;        ///< make room for windows and states of kept texts as well: keep()
};

/// Bytes of a cache by what they hold.
struct CacheBytes {
  int64_t whole = 0;    ///< keys and values of every position
  int64_t windows = 0;  ///< keys and values of visits that keep a window
  int64_t latents = 0;  ///< joined rows
  int64_t states = 0;   ///< recurrent states
  int64_t tables = 0;   ///< pointers to all of these

  int64_t total() const { return whole + windows + latents + states + tables; }
  CacheBytes& operator+=(const CacheBytes& other);
};

/// Keeps the keys and values of the open sequences that are still to be read, in blocks of 64 positions from a pool
/// that is made once. Visits with the same window share a part of the pool; a block of it holds, for each of them, the
/// key chunks of all heads, then their value chunks, as kernels::attention reads them. Joined visits have only the
/// latter, with whole keys in them. Visits with a window have no more blocks than hold it and a step beside it: the
/// chunks of a sequence take them in turn. Beside the blocks, each sequence has the recurrent states of the visits that
/// keep one. A state stands for all positions below length() and cannot be rewound: a sequence with states is kept
/// whole or starts again from nothing, and so does one that is rewound to where a window's positions are gone.
/// Sequences can share blocks, with each other and with the texts that are kept: a block that others hold too is copied
/// before it is written. Kept texts give their room up, the one that was used longest ago first, when it is needed.
/// open, reserve, truncate, fork, keep, resume and close need exclusive access; write (at different places) and reading
/// do not.
class KvCache {
 public:
  /// What a cache of these options takes.
  static CacheBytes bytes(const KvCacheOptions& options);
  /// kInvalid for impossible shapes, kLimit when the system lacks the memory.
  static core::Result<KvCache> create(const KvCacheOptions& options);

  /// A new, empty sequence. kLimit when `sequences` are open.
  core::Result<SequenceId> open();
  /// Makes room for positions below `tokens`; keeps what they will read. kLimit, with nothing changed, when too few
  /// blocks are free, the sequence would become too long, or windows do not have so many positions at once.
  core::Status reserve(SequenceId sequence, int64_t tokens);
  /// Declares positions below `tokens` written, after reserve.
  void set_length(SequenceId sequence, int64_t tokens);
  int64_t length(SequenceId sequence) const;
  /// Positions below this can be written.
  int64_t reserved(SequenceId sequence) const;
  /// Forgets positions from `length` on and frees their blocks. Returns the length that remains: `length` or what the
  /// sequence has, whichever is less; 0 when something was to be forgotten that a state holds, or when a window of the
  /// row at `length` is gone. What the last step wrote can always be forgotten of windows.
  [[nodiscard]] int64_t truncate(SequenceId sequence, int64_t length);
  /// A new sequence with the first `length` positions of another, or with none where truncate to `length` would leave
  /// none: length() says how many. kLimit as open.
  core::Result<SequenceId> fork(SequenceId source, int64_t length);
  void close(SequenceId sequence);

  /// Keeps what is computed of `tokens`, the sequence's own, for texts of the same family that begin alike: all of it,
  /// or whole blocks. Where the same is kept already, the sequence goes on with those blocks and gives its own up.
  void keep(SequenceId sequence, std::span<const int32_t> tokens, const std::string& family, bool whole_blocks);
  /// Lets an empty sequence go on from what is kept of texts of that family that begin with these tokens, as far as
  /// windows and states allow. Returns its length then, less than the tokens.
  int64_t resume(SequenceId sequence, std::span<const int32_t> tokens, const std::string& family);
  /// Gives an empty sequence `length` positions, still to be filled in through contents(). kLimit as reserve.
  core::Status make_room(SequenceId sequence, int64_t length);
  /// All that a sequence's next position reads, to be saved and filled in again: keys and values by group and block,
  /// then the states. Its layout is that of the cache: describe(). Blocks must not be shared where they are filled in.
  std::vector<std::span<std::byte>> contents(SequenceId sequence);
  /// What the contents of two caches must have in common to be exchanged, as a text.
  std::string describe() const;
  /// Pieces of texts that had to make room.
  int64_t evicted() const { return evicted_; }

  /// Stores one position's keys [kv_heads][key_size] and values [kv_heads][value_size], reserved before. Joined visits
  /// read no values.
  void write(int64_t visit, SequenceId sequence, int64_t position, const float* keys, const float* values);
  /// Chunk pointers by position / 64, one per reserved block; null where a window has gone by. The span's address is
  /// stable while the sequence is open. Joined visits have no key chunks: an empty span without an address.
  std::span<const std::byte* const> key_chunks(int64_t visit, SequenceId sequence, int64_t kv_head) const;
  std::span<const std::byte* const> value_chunks(int64_t visit, SequenceId sequence, int64_t kv_head) const;
  /// The visit's state of that sequence: state_floats numbers after length() positions, 0 at the start, aligned to a
  /// cache line. Whoever computes the next positions leaves the state after them here.
  float* state(int64_t visit, SequenceId sequence);

  /// Blocks of the visits that keep every position.
  int64_t block_count() const { return groups_.front().blocks; }
  /// Those that can be had: what kept texts alone hold is among them.
  int64_t free_blocks() const { return groups_.front().pool.free() + idle_blocks(); }
  int64_t idle_blocks() const { return groups_.front().pool.idle(); }
  /// Blocks that a sequence lacks to hold `tokens`, a copy of a shared one that it would write to among them.
  int64_t lacking(SequenceId sequence, int64_t tokens) const;
  std::span<const VisitShape> visits() const { return visits_; }

 private:
  /// The visits that keep the same positions, and their part of the pool. The first group keeps all positions.
  struct Group {
    int64_t window = 0;
    int64_t chunks = 0;  ///< that a sequence has at most
    int64_t blocks = 0;
    int64_t block_bytes = 0;
    int64_t offset = 0;  ///< in the memory
    BlockPool pool{};
  };
  /// A visit's part of its group's blocks, and its rows in a sequence's pointer table: keys by head, then values by
  /// head.
  struct Place {
    size_t group = 0;
    int64_t offset = 0;
    int64_t bytes = 0;
    int64_t key_bytes = 0;
    int64_t value_bytes = 0;
    int64_t first_row = 0;
    int64_t state = 0;  ///< offset of the state in a sequence's states
  };
  /// The chunks of a sequence that a group has: [begin, Sequence::chunks), chunk c in blocks[c % Group::chunks].
  struct Ring {
    int64_t begin = 0;
    std::vector<int32_t> blocks;
  };
  /// The vectors get their full size at construction.
  struct Sequence {
    bool open = false;
    int64_t length = 0;
    int64_t chunks = 0;
    std::vector<Ring> rings;                 ///< by group
    std::vector<const std::byte*> pointers;  ///< [row][sequence_blocks_]
  };

  KvCache() = default;
  /// The first position that a row at `position` reads.
  static int64_t first_read(int64_t window, int64_t position) {
    return window == 0 ? 0 : std::max<int64_t>(0, position - window + 1);
  }
  /// The groups of these visits, and which one each visit belongs to.
  static std::vector<Group> make_groups(const KvCacheOptions& options, std::vector<size_t>& group_of);
  int64_t plan(const KvCacheOptions& options);
  Sequence& at(SequenceId id);
  const Sequence& at(SequenceId id) const;
  core::Status check_room(const Sequence& sequence, int64_t tokens) const;
  int32_t take_block(size_t group);
  bool reclaim(size_t group);
  void forget(PrefixNode& node);
  bool tail_is_shared(const Sequence& sequence) const;
  void own_tail(Sequence& sequence);
  bool has_chunk(const Sequence& sequence, size_t group, int64_t chunk) const;
  int32_t& slot(Sequence& sequence, size_t group, int64_t chunk);
  void set_chunk(Sequence& sequence, size_t group, int64_t chunk, int32_t block);
  void share_chunk(Sequence& sequence, int64_t chunk, PrefixNode& node);
  PrefixNode* keep_piece(Sequence& sequence, PrefixNode* parent, std::span<const int32_t> tokens);
  void keep_state(SequenceId id, PrefixNode& node);
  bool can_resume(const PrefixTree::Match& match, size_t last, int64_t length) const;
  void place_chunk(Sequence& sequence, size_t group, int64_t chunk);
  void point(Sequence& sequence, size_t group, int64_t chunk, const std::byte* block);
  void drop_chunks(Sequence& sequence, int64_t keep);
  bool rewinds(const Sequence& sequence, int64_t length) const;
  std::byte* block_of(const Sequence& sequence, size_t group, int64_t chunk);
  /// All states of a sequence, or those in a place of kept ones.
  std::span<std::byte> states_of(SequenceId id);
  std::span<std::byte> states_at(int64_t place);
  void clear_states(SequenceId id);
  std::span<const std::byte* const> row(int64_t index, SequenceId id) const;

  std::vector<VisitShape> visits_;
  std::vector<Place> places_;
  std::vector<Group> groups_;
  int64_t rows_ = 0;
  int64_t sequence_blocks_ = 0;
  std::vector<Sequence> sequences_;
  core::AlignedBuffer pool_;
  int64_t state_bytes_ = 0;     ///< of the states of a sequence
  core::AlignedBuffer states_;  ///< [sequence], then those that are kept
  BlockPool kept_states_;       ///< places behind the sequences
  PrefixTree kept_;
  int64_t evicted_ = 0;
};

}  // namespace lamina::cache
