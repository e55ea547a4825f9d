#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lamina/cli.h"

namespace lamina::app {

/// What `lamina eval` is asked for, of one model under one recipe.
struct EvalOptions {
  CommonOptions common;
  std::string text;
  std::string scored = "second-half";
  int64_t windows = 0;
  std::string reference;
  std::string reference_recipe;
  std::string reference_activations;
  std::string reference_logits;
  std::vector<std::string> tasks;
  std::string task_prefix;
  int64_t items = 0;
};

/// Measures the model on the text and the tasks: one row as `eval --json` prints it. Figures have a second field
/// NAME_ci95, their 95 % interval, or null; tasks keep what was right item by item ("1011"), so that rows can be
/// compared in pairs.
core::Result<nlohmann::ordered_json> evaluate(const EvalOptions& options);

}  // namespace lamina::app
