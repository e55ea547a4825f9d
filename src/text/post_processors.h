#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "core/result.h"

namespace lamina::text {

/// Reads tokenizer.json's "post_processor" (null: none) into the ids around a single text; kTextSlot marks the text.
/// Errors name the component.
core::Result<std::vector<int32_t>> make_frame(const nlohmann::json& spec);

}  // namespace lamina::text
