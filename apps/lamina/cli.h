#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "core/result.h"

namespace lamina::app {

/// Options that commands share where they make sense.
struct CommonOptions {
  std::string model;
  std::string recipe;
  int threads = 0;      ///< 0: as many as the process may use
  int64_t context = 0;  ///< 0: what the command needs, at most the model's
  uint64_t seed = 0;
  bool json = false;
  std::string activations = "int8";  ///< "f32": exact mode
};

/// Declares MODEL, --recipe, --threads, --ctx, --activations and --json.
void add_model_options(CLI::App& command, CommonOptions& options);
/// The same without MODEL and --recipe.
void add_run_options(CLI::App& command, CommonOptions& options);
/// Declares --json alone.
void add_json_option(CLI::App& command, bool& json);

/// Prints "lamina: <where>: <what>" on standard error; the exit status is 2 when the call was wrong, else 1.
int report(const core::Error& error);
/// 0, or report() of the error.
int exit_status_of(const core::Status& status);

/// Prints one JSON object on standard output.
void print_json(const nlohmann::ordered_json& value);

/// The whole of a text file (at most 1 GiB), or standard input for "-".
core::Result<std::string> read_file(const std::string& path);

/// "name", "summary" and the footer of examples, as `--help` shows them.
CLI::App* add_command(CLI::App& app, const std::string& name, const std::string& summary, const std::string& examples);

}  // namespace lamina::app
