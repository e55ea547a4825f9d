#pragma once

#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

#include "core/result.h"
#include "layers/profile.h"
#include "run/machine.h"

namespace lamina::app {

/// Prints where the time of these steps went: by operation over all layers, then layer by layer.
void print_profile(const layers::StepSums& sums, const run::MachinePeaks& peaks, std::FILE* out = stdout);

/// The same as JSON: {steps, step_ms, operations: [{layer, part, operation, matrices, calls, ms, share, bytes,
/// operations, bandwidth_share, peak_share}]}; ms, bytes and operations are of one step.
nlohmann::ordered_json profile_json(const layers::StepSums& sums, const run::MachinePeaks& peaks);

/// --profile and --trace F.
void add_profile_options(CLI::App& command, bool& profile, std::string& trace);

/// Collects steps for a trace in the format of Chrome's about:tracing and of Perfetto.
class Trace {
 public:
  /// The last step of a profile, as a row of that name.
  void add(const std::string& name, const layers::Profile& profile);
  core::Status write(const std::string& path) const;

 private:
  nlohmann::ordered_json events_ = nlohmann::ordered_json::array();
  int rows_ = 0;
};

}  // namespace lamina::app
