#pragma once

#include <set>
#include <string>
#include <vector>

#include "compress/edit.h"

namespace lamina::compress {

/// Takes parts out of layers, by role, one set for each layer of the model so far; layers that are left with none go as
/// a whole, and those behind them move up: names of tensors, lists with a value for each layer, lists of layers.
/// Commits. What the family's settings cannot say (a part that is missing, the number by which a rule knows a layer)
/// is said in keys of our own (models/structure.h); `notes` are told. kInvalid: no layer is left; kUnsupported: an
/// encoder-decoder, or a layer that would mean something else, with what differs.
core::Status take_out(ModelEdit& edit, const std::vector<std::set<std::string>>& parts,
                      std::vector<std::string>& notes);

}  // namespace lamina::compress
