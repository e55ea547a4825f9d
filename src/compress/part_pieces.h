#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "compress/edit.h"
#include "core/result.h"

namespace lamina::compress {

/// A part of a layer, and which of its pieces touch the stream. Pieces stay valid until the next commit().
struct PartPieces {
  int layer = 0;
  std::string role{};
  std::string kind{};
  nlohmann::json record{};              ///< of the family, evaluated
  std::vector<const Piece*> norm{};     ///< the numbers of the norm before it, and its bias; two parts may share them
  std::vector<const Piece*> readers{};  ///< matrices that read the normed stream, and the gate of a shared expert
  std::vector<const Piece*> writers{};  ///< matrices whose outputs are added to the stream, and their biases
  std::string unknown{};                ///< why these may not be all, or not this part's alone; else empty

  /// The tensor of the norm before it; empty: it has none.
  std::string norm_tensor() const;
  /// A number of the record; 0 where it has none.
  double number(const char* field) const;
};

/// The parts of all layers, in the order of the layers.
core::Result<std::vector<PartPieces>> list_parts(const ModelEdit& edit);

/// A text of a record; empty where it has none.
std::string text_of(const nlohmann::json& record, const char* field);

/// What a part has under that key: of matrices in two factors, the one that reads (`reads`) or the one that writes;
/// biases go with what writes.
std::vector<const Piece*> pieces_of(const ModelEdit& edit, const PartPieces& part, std::string_view key, bool reads);

}  // namespace lamina::compress
