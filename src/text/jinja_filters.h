#pragma once

#include <span>

#include "text/jinja_function.h"

namespace lamina::text::jinja {

/// Filters of strings and numbers.
std::span<const Function> text_filters();
/// Filters of lists and dictionaries.
std::span<const Function> list_filters();

}  // namespace lamina::text::jinja
