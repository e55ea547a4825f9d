#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "core/result.h"

namespace lamina::app {

/// A program to run, without a shell.
struct ProcessRequest {
  std::vector<std::string> command;                              ///< the program (sought in PATH) and its arguments
  std::filesystem::path folder;                                  ///< where it runs
  std::filesystem::path output;                                  ///< its standard output is appended here
  std::filesystem::path log;                                     ///< its standard error is appended here
  std::vector<std::pair<std::string, std::string>> environment;  ///< added to, or instead of, our own
  std::function<void()> meanwhile;                               ///< called some times a second while it runs
};

/// Runs it to its end. Errors: kNotFound if there is no such program, kIo if it fails (with the last line of its log).
core::Status run_process(const ProcessRequest& request);

}  // namespace lamina::app
