#pragma once

#include <set>
#include <string>
#include <vector>

#include "compress/pass.h"

namespace lamina::compress {

/// Parts of layers that are to go.
struct ChosenParts {
  std::vector<std::set<std::string>> parts{};  ///< roles, one set for each layer of the model so far
  std::string names{};                         ///< "attn of layers 3, 7"
};

/// What a clause names, or of that as many as its argument `count` says, by its arguments `by`, `order` and `units`;
/// scores go into the report. kInvalid at the clause: nothing is named, or statistics that the choice needs are
/// missing.
core::Result<ChosenParts> choose_parts(const PassUse& use, const ModelEdit& edit, PassReport& report);

}  // namespace lamina::compress
