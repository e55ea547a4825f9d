#pragma once

#include <string>
#include <vector>

#include "compress/pass.h"

namespace lamina::compress {

/// Where inputs of matrices may be scaled without changing the model: `readers` get their columns times a scale, what
/// makes those inputs (a norm's numbers, or the rows of a matrix) is divided by it.
struct ScaleSite {
  std::string name{};                   ///< "attn.norm", "attn.v", "mlp.up"
  int layer = 0;                        ///< of the model so far
  std::vector<const Piece*> readers{};  ///< all that share these inputs
  std::vector<const Piece*> makers{};   ///< vectors of the norm, or the matrix and its bias
  int64_t repeat = 1;                   ///< v to o: heads that read one head of keys and values
  int64_t head = 1;                     ///< v to o: numbers of a head

  int64_t inputs() const;
  /// The number of the maker that input `i` comes from.
  int64_t source(int64_t i) const { return i / head / repeat * head + i % head; }
  int64_t sources() const { return inputs() / repeat; }
};

/// The sites whose readers the clause selects: a norm before a part, with all that reads it; v before o; up before down
/// where it is multiplied by a gate, of experts each for itself. Pieces stay valid until the next commit(). Adds to
/// `left_out` why a place is none.
core::Result<std::vector<ScaleSite>> scale_sites(const PassUse& use, const ModelEdit& edit,
                                                 std::vector<std::string>& left_out);

/// Divides what the makers write by the scales, one for each source, and multiplies the readers' columns; statistics
/// follow. The model means the same but for roundings of float32.
core::Status apply_scales(const ScaleSite& site, const std::vector<float>& scales, ModelEdit& edit);

}  // namespace lamina::compress
