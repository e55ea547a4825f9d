#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "core/result.h"

namespace lamina::models {

/// Gives the value of a name used in an expression: a number, string, bool or null.
using NameLookup = std::function<core::Result<nlohmann::json>(const std::string& name)>;

/// Evaluates an expression of an architecture file, such as "hidden / heads" or "(layer + 1) % 6 == 0 ? 0 : window".
/// Values are numbers (double), strings in single quotes, true, false and null; operators are ?: || && == != < <= > >=
/// + - * / % ! and the functions sqrt, log, min, max, floor, contains(list, value) and largest(list). `a ?? b` is b
/// when a is null. Errors name the expression and the position.
core::Result<nlohmann::json> evaluate(std::string_view expression, const NameLookup& lookup);

}  // namespace lamina::models
