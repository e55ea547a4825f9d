#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/flat_map.h"
#include "text/token_model.h"

namespace lamina::text {

struct BpeOptions {
  bool raw_bytes = false;  ///< words are raw bytes; vocabulary entries are written in the byte alphabet
  bool byte_fallback = false;
  bool fuse_unknown = false;
  bool ignore_merges = false;  ///< a word that is a token is that token, whatever the merges say
  int32_t unknown = -1;
  std::string continuing_prefix;
  std::string end_suffix;
};

/// A pair of neighbours and what they become; the position in the list is the rank, lowest first.
struct BpeMerge {
  int32_t left = 0;
  int32_t right = 0;
  int32_t merged = 0;
};

/// Byte-pair encoding (Sennrich et al. 2016): the neighbours of lowest rank are joined, leftmost first, until none is
/// left. Long words take O(n log n).
class BpeModel final : public TokenModel {
 public:
  /// `vocabulary` holds (string, id) of the entries that text may become. Ids are at least 0.
  static core::Result<std::unique_ptr<TokenModel>> make(const std::vector<std::pair<std::string, int32_t>>& vocabulary,
                                                        const std::vector<BpeMerge>& merges, BpeOptions options);

  core::Status encode(std::string_view word, std::vector<int32_t>& ids) const override;

 private:
  BpeModel() = default;

  void index_bytes(const std::vector<std::pair<std::string, int32_t>>& vocabulary);
  void encode_merging(std::string_view word, std::vector<int32_t>& ids) const;
  void initial_symbols(std::string_view word, std::vector<int32_t>& symbols) const;
  void add_character(std::string_view character, int32_t& pending_unknown, std::vector<int32_t>& symbols) const;
  void merge_short(std::vector<int32_t>& symbols) const;
  void merge_long(std::vector<int32_t>& symbols) const;

  BpeOptions options_;
  StringMap tokens_;  ///< as text meets them: raw bytes or UTF-8
  FlatMap merges_;    ///< left << 32 | right -> rank << 32 | merged
  /// By id: whether the merges turn the token's own text into that token; found out when first asked, by whichever
  /// thread asks.
  std::unique_ptr<std::atomic<uint8_t>[]> whole_;
  std::array<int32_t, 256> byte_;  ///< raw_bytes: the token of a byte; byte_fallback: of "<0xNN>"; -1 if none
  bool all_bytes_ = false;
};

}  // namespace lamina::text
