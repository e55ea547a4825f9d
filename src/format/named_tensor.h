#pragma once

#include <string_view>

#include "core/tensor.h"

namespace lamina::format {

/// A tensor of a file. Both members borrow from the reader that lists it.
/// view.format is a row of the codec table, or, for a type that no codec decodes, a format for which codec::codec_of is
/// null: such a tensor is listed but cannot be used as a weight.
struct NamedTensor {
  std::string_view name;
  core::TensorView view;
};

}  // namespace lamina::format
