#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
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
  std::vector<int32_t> control;  ///< ids, sorted
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
  /// `vocabulary` holds (string, id) of all entries. Ids are at least 0.
  static core::Result<std::unique_ptr<TokenModel>> make(const std::vector<std::pair<std::string, int32_t>>& vocabulary,
                                                        const std::vector<BpeMerge>& merges, BpeOptions options);

  /// SentencePiece's kind: any neighbours join whose union is a token, that of the highest score first. The ranks are
  /// those of `merges_from_scores`, found when they are asked for. `joins[id]` tells the tokens that take part.
  static core::Result<std::unique_ptr<TokenModel>> make_scored(
      const std::vector<std::pair<std::string, int32_t>>& vocabulary, std::span<const float> scores,
      std::vector<bool> joins, BpeOptions options);

  core::Status encode(std::string_view word, bool control, WordCache& cache, std::vector<int32_t>& ids) const override;

 protected:
  core::Status encode_anew(std::string_view word, bool control, std::vector<int32_t>& ids) const override;

 private:
  /// A token of the word so far, and the bytes that it stands for.
  struct Symbol {
    int32_t id = -1;
    uint32_t begin = 0;
    uint32_t end = 0;
    bool joins = true;  ///< by its text; what stands for an unknown character does not
  };

  /// When a pair is joined, lowest first, and what it becomes; by default never.
  struct Found {
    uint64_t rank = UINT64_MAX;
    uint64_t rank_among_equals = 0;
    int32_t merged = -1;
    bool comes_before(const Found& other) const {
      return rank != other.rank ? rank < other.rank : rank_among_equals < other.rank_among_equals;
    }
  };

  struct Candidate;

  /// The word that is being encoded.
  struct Word {
    std::string_view text;
    bool control = false;  ///< may become control tokens
  };

  BpeModel() = default;

  core::Status index(const std::vector<std::pair<std::string, int32_t>>& vocabulary);
  void index_bytes(const std::vector<std::pair<std::string, int32_t>>& vocabulary);
  void index_cuts(const std::vector<std::pair<std::string, int32_t>>& vocabulary);
  size_t next_cut(std::string_view word, size_t begin) const;
  void encode_merging(Word word, std::vector<int32_t>& ids) const;
  bool initial_symbols(Word word, std::vector<Symbol>& symbols) const;
  bool add_character(Word character, Symbol place, Symbol& pending, std::vector<Symbol>& symbols) const;
  int32_t find_token(Word word) const;
  Found find(Word word, const Symbol& left, const Symbol& right) const;
  Found find_scored(std::string_view word, const Symbol& left, const Symbol& right) const;
  void merge_short(Word word, std::vector<Symbol>& symbols) const;
  void merge_long(Word word, std::vector<Symbol>& symbols) const;

  BpeOptions options_;
  StringMap tokens_;              ///< as text meets them: raw bytes or UTF-8
  FlatMap merges_;                ///< left << 32 | right -> rank << 32 | merged
  bool control_joins_ = false;    ///< merges with control tokens may go another way than those without
  FlatMap control_merges_;        ///< the same of those that make control tokens
  std::vector<uint32_t> scores_;  ///< by id, when merges go by scores: the lower the earlier
  std::vector<bool> joins_;       ///< by id, beside `scores_`
  /// By id: whether the merges turn the token's own text into that token; found out when first asked, by whichever
  /// thread asks.
  std::unique_ptr<std::atomic<uint8_t>[]> whole_;
  std::array<int32_t, 256> byte_;  ///< raw_bytes: the token of a byte; byte_fallback: of "<0xNN>"; -1 if none
  bool all_bytes_ = false;
  bool cuts_ = false;                 ///< words may be cut before a metaspace ...
  std::vector<char32_t> never_cuts_;  ///< ... but behind these characters, sorted
};

}  // namespace lamina::text
