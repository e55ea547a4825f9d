#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "run/sampler.h"

namespace lamina::app {

/// Options of commands that generate.
struct GenerationOptions {
  int64_t tokens = -1;
  run::SamplingOptions sampling;
  std::vector<std::string> stops;
};

/// Declares -n, --temperature, the filters, the penalties, --seed and --stop.
void add_generation_options(CLI::App& command, GenerationOptions& options);

}  // namespace lamina::app
