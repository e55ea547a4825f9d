#pragma once

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "core/result.h"

namespace lamina::app {

/// The options of a command that its command line has.
std::set<std::string> given_options(const CLI::App& command);

/// Reads a JSON object whose fields are the command's options: "api_key_file" is --api-key-file, "models" are the
/// models. Sets those of `command` that are not `given`. kInvalid: no JSON, a field that is no option, a value that the
/// option does not take; the field is named.
core::Result<nlohmann::ordered_json> read_config(const std::string& path, CLI::App& command,
                                                 const std::set<std::string>& given);

/// Fields whose values differ, those of only one of them too.
std::vector<std::string> changed_fields(const nlohmann::ordered_json& before, const nlohmann::ordered_json& after);

}  // namespace lamina::app
