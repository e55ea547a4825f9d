#pragma once

#include <cstdint>
#include <vector>

#include "text/grammar.h"

namespace lamina::text {

/// A grammar as a machine: nodes and edges, with a stack of the nodes to go on at behind rules. Every node leads to the
/// end of its rule in some way.
struct GrammarProgram {
  struct Edge {
    enum class Kind : uint8_t {
      kBytes,  ///< one byte from `low` to `high`
      kFree,   ///< nothing
      kCall,   ///< all of the rule that begins at `callee`
      kTail,   ///< the same, where nothing follows in this rule
      kAgain,  ///< once more: while the node's count is below `bound` (-1: always)
      kLeave,  ///< no more: once the count has reached `bound`
    };
    Kind kind = Kind::kFree;
    uint8_t low = 0;
    uint8_t high = 0;
    int32_t target = 0;
    int32_t callee = 0;
    int32_t bound = 0;
  };
  /// A loop that counts its rounds; its nodes carry the count.
  struct Loop {
    int32_t least = 0;
    int32_t most = -1;
  };
  struct Node {
    int32_t first_edge = 0;
    int32_t edges = 0;
    int32_t loop = -1;   ///< the loop that counts here
    bool ends = false;   ///< the rule may end here
    bool reads = false;  ///< has edges of bytes
  };

  std::vector<Node> nodes;
  std::vector<Edge> edges;
  std::vector<Loop> loops;
  int32_t start = 0;

  std::span<const Edge> edges_of(int32_t node) const {
    const Node& own = nodes[static_cast<size_t>(node)];
    return std::span(edges).subspan(static_cast<size_t>(own.first_edge), static_cast<size_t>(own.edges));
  }
};

/// Errors: kInvalid (no text at all, a rule that begins with itself), kLimit (too large).
core::Result<GrammarProgram> compile_program(const Grammar& grammar);

}  // namespace lamina::text
