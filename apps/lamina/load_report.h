#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <vector>

#include "lamina/load_client.h"

namespace lamina::app {

/// What an answer must keep to in order to count as good; 0: no limit.
struct LoadLimits {
  double first_seconds = 0;
  double gap_seconds = 0;  ///< of each gap
  double end_seconds = 0;
};

/// Mean and percentiles; null for no values. A percentile is the smallest value that so many are not above.
nlohmann::ordered_json distribution(std::vector<double> values);

/// Counts, rates and distributions of a test that took so long. `each`: a row for every request too.
nlohmann::ordered_json load_report(std::span<const LoadResult> results, double seconds, const LoadLimits& limits,
                                   bool each);

/// The report for people.
std::string load_text(const nlohmann::ordered_json& report);

}  // namespace lamina::app
