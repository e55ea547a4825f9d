#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "core/result.h"
#include "models/architecture.h"

namespace lamina::models {

/// Whether two values of a setting or field are the same for a container that stores numbers as float32.
bool same_value(const nlohmann::json& a, const nlohmann::json& b);

/// Whether the layers of `target` compute what those of `source` do, however each container stores their tensors.
/// kUnsupported names layer, field and both values; `file` starts the message.
core::Status check_same_meaning(const ResolvedModel& source, const ResolvedModel& target, const std::string& file);

/// The same of two layers' records, whatever their numbers; `place` names the layer.
core::Status check_same_layer(const nlohmann::json& source, const nlohmann::json& target, const std::string& place,
                              const std::string& file);

/// Which of the target's heads is head `index` of `source`.
core::Result<size_t> find_same_head(const ResolvedModel& source, size_t index, const ResolvedModel& target,
                                    const std::string& file);

}  // namespace lamina::models
