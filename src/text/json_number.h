#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "text/automaton.h"

namespace lamina::text {

/// A bound of numbers.
struct NumberBound {
  std::string value;  ///< as JSON has it
  bool exclusive = false;
};

struct NumberLimits {
  bool integer = false;  ///< written without a fraction
  std::optional<NumberBound> least{};
  std::optional<NumberBound> most{};
  int64_t multiple_of = 0;  ///< 0: of anything; only with `integer`
};

/// Numbers within limits, as JSON writes them: up to 18 digits before the point and 20 behind it; without limits also
/// an exponent of two digits, so that a double holds them all. Bounded fractions have so few digits that reading them
/// as a double never crosses a bound. kUnsupported: a bound or a divisor with too many digits.
core::Result<Automaton> number_automaton(const NumberLimits& limits);

}  // namespace lamina::text
