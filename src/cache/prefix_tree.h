#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

namespace lamina::cache {

/// One piece of kept texts, of a block's tokens or, at a text's end, fewer.
struct PrefixNode {
  PrefixNode* parent = nullptr;  ///< null: a root, which has no tokens
  std::vector<int32_t> tokens{};
  int64_t end = 0;                ///< tokens from the text's beginning to this piece's end
  std::vector<int32_t> blocks{};  ///< by group; -1: none
  int32_t state = -1;             ///< the kept state after the last token; -1: none
  uint64_t used = 0;              ///< when, by rising number
  std::vector<std::unique_ptr<PrefixNode>> children{};
};

/// The beginnings of texts of which something is kept. A piece lies behind the one before it, so texts that begin alike
/// have their first pieces in common. Pieces are found by their tokens themselves, behind a root for each family: no
/// hash can confuse two texts, and no family sees what another has. What the blocks hold is the owner's matter.
class PrefixTree {
 public:
  PrefixTree() = default;
  PrefixTree(PrefixTree&&) = default;
  PrefixTree& operator=(PrefixTree&&) = default;
  ~PrefixTree();

  struct Match {
    std::vector<PrefixNode*> path;  ///< the pieces, of which the last may agree in a part
    int64_t length = 0;             ///< tokens that agree
  };

  /// The pieces that begin `tokens`.
  Match find(const std::string& family, std::span<const int32_t> tokens);
  /// The root of a family; made when it is not there.
  PrefixNode* root(const std::string& family);
  /// The child that agrees most with `tokens`, and in how many; null: with none.
  static PrefixNode* best_child(const PrefixNode& node, std::span<const int32_t> tokens, int64_t& agreed);
  /// A new piece, to be touched once it is complete.
  PrefixNode* add(PrefixNode* parent, std::span<const int32_t> tokens, size_t groups);
  /// Takes a piece without children out.
  void remove(PrefixNode* node);
  /// Marks the piece and those before it as used now.
  void touch(PrefixNode* node);
  /// The piece that was used longest ago of those that fit; a piece comes before the one that it lies behind. Null:
  /// none.
  PrefixNode* oldest(const std::function<bool(const PrefixNode& node)>& fits) const;
  int64_t size() const { return static_cast<int64_t>(order_.size()); }

 private:
  struct Older {
    bool operator()(const PrefixNode* a, const PrefixNode* b) const {
      if (a->used != b->used) return a->used < b->used;
      return a->end != b->end ? a->end > b->end : std::less<>()(a, b);
    }
  };

  std::map<std::string, std::unique_ptr<PrefixNode>> roots_;
  std::set<PrefixNode*, Older> order_;
  uint64_t clock_ = 0;
};

}  // namespace lamina::cache
