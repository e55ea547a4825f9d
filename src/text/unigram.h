#pragma once

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "text/flat_map.h"
#include "text/token_model.h"

namespace lamina::text {

/// An entry of a unigram vocabulary.
struct UnigramPiece {
  std::string text;
  double score = 0.0;  ///< log probability
  int32_t id = 0;
  bool control = false;
};

struct UnigramOptions {
  int32_t unknown = -1;
  bool byte_fallback = false;  ///< unknown characters become the tokens "<0xNN>" where all exist
};

/// The split of highest total log probability (Kudo 2018), by dynamic programming in O(n times longest piece).
/// Neighbouring unknown characters become one unknown token.
class UnigramModel final : public TokenModel {
 public:
  /// `forbidden` tells the pieces that nothing must become; they count for the lowest score only. Errors: kCorrupt for
  /// a score that is not a number, or a piece given twice.
  static core::Result<std::unique_ptr<TokenModel>> make(const std::vector<UnigramPiece>& pieces,
                                                        const std::function<bool(const UnigramPiece&)>& forbidden,
                                                        UnigramOptions options);

 protected:
  core::Status encode_anew(std::string_view word, bool control, std::vector<int32_t>& ids) const override;

 private:
  struct Node {
    double score = 0.0;
    size_t begin = 0;
    int32_t id = -2;  ///< -2: not reached, -1: unknown
  };

  UnigramModel() = default;
  core::Status add_piece(const UnigramPiece& piece);
  void fill(std::string_view word, bool control, std::vector<Node>& best) const;
  core::Status add_unknown(std::string_view text, std::vector<int32_t>& ids) const;

  UnigramOptions options_;
  std::array<int32_t, 256> bytes_{};  ///< ids of "<0xNN>", or -1
  double unknown_score_ = 0.0;
  FlatMap edges_;              ///< node << 8 | byte -> node
  std::vector<int32_t> ends_;  ///< by node: index of the piece, or -1
  std::vector<std::pair<double, int32_t>> pieces_;
  size_t first_control_ = 0;  ///< control pieces are the last of `pieces_`
};

}  // namespace lamina::text
