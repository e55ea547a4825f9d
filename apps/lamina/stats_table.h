#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "stats/statistics.h"

namespace lamina::app {

/// What calibration text showed of the parts of each layer, means over its tokens: a table, or rows of JSON.
std::string parts_text(const stats::Statistics& statistics);
nlohmann::ordered_json parts_json(const stats::Statistics& statistics);

/// How heads spread their attention, when it was asked for: of each layer the mean and the range over its heads, or
/// with `all` a row for each head; JSON tells of each head. Empty without attention.
std::string attention_text(const stats::Statistics& statistics, bool all);
nlohmann::ordered_json attention_json(const stats::Statistics& statistics);

/// Which experts the tokens of the text went to, and which ones serve the same token: of each layer a row, or with
/// `all` of each expert. Empty without experts.
std::string experts_text(const stats::Statistics& statistics, bool all);
nlohmann::ordered_json experts_json(const stats::Statistics& statistics);

}  // namespace lamina::app
