#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "stats/statistics.h"

namespace lamina::app {

/// What calibration text showed of the parts of each layer, means over its tokens: a table, or rows of JSON.
std::string parts_text(const stats::Statistics& statistics);
nlohmann::ordered_json parts_json(const stats::Statistics& statistics);

}  // namespace lamina::app
