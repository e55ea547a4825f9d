#pragma once

#include "text/jinja_eval.h"
#include "text/jinja_value.h"

namespace lamina::text::jinja {

/// Python's `format % values` for strings; `values` is a tuple, a dictionary, or a single value.
Value format_percent(Evaluator& ev, const Value& format, const Value& values);

/// Python's str.format(): {}, {0}, {name}, {0.attribute[key]}, !r, !s and the usual format specifications.
Value format_braces(Evaluator& ev, const Value& format, const Arguments& arguments);

}  // namespace lamina::text::jinja
