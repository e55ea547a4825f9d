#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <utility>

#include "core/result.h"

namespace lamina::text {

/// What one rendering may use. A template is data from a model file, so nothing it asks for is unbounded.
struct TemplateLimits {
  int64_t steps = 20'000'000;        ///< evaluated nodes, plus one for each 32 bytes or 4 items that are built
  int64_t output_bytes = 64 << 20;   ///< the rendered text
  int64_t value_bytes = 64 << 20;    ///< one string
  int64_t value_items = 1'000'000;   ///< one list or dictionary
  int64_t live_bytes = 512ll << 20;  ///< all strings and containers alive at a time
  int64_t objects = 100'000;         ///< namespaces, macros and other things that live until the end
  int eval_depth = 700;              ///< nested evaluations: expressions inside statements inside macro calls
};

}  // namespace lamina::text

namespace lamina::text::jinja {

/// Nesting that the parser accepts: brackets, blocks, and operators that build on one another.
inline constexpr int kMaxSyntaxDepth = 200;
/// Nesting of lists and dictionaries, in arguments and in values that a template builds.
inline constexpr int kMaxValueDepth = 100;
/// Most items of range(), as in the sandbox of Jinja2.
inline constexpr int64_t kMaxRange = 100'000;
/// Longest template source in bytes.
inline constexpr size_t kMaxSource = 4u << 20;

/// Thrown inside the renderer only; compile() and render() turn it into a core::Error.
struct Failure {
  core::ErrorCode code = core::ErrorCode::kInvalid;
  std::string message;
  int line = 0;  ///< 0: not known where it was thrown
};

/// Throws a Failure with a formatted message.
template <typename... Args>
[[noreturn]] void raise(fmt::format_string<Args...> format, Args&&... args) {
  throw Failure{core::ErrorCode::kInvalid, fmt::format(format, std::forward<Args>(args)...), 0};
}

/// Throws a Failure that says that a bound was passed.
template <typename... Args>
[[noreturn]] void raise_limit(fmt::format_string<Args...> format, Args&&... args) {
  throw Failure{core::ErrorCode::kLimit, fmt::format(format, std::forward<Args>(args)...), 0};
}

/// Counts what a rendering uses; values report their bytes to it while they live.
class Meter {
 public:
  explicit Meter(const TemplateLimits& limits) : limits_(limits) {}

  const TemplateLimits& limits() const { return limits_; }

  /// Spends `count` steps; raises when none are left.
  void step(int64_t count = 1) {
    steps_ += count;
    if (steps_ > limits_.steps) raise_limit("more than {} steps; the template loops too much", limits_.steps);
  }

  /// Records `bytes` newly alive; raises when too many are.
  void take(int64_t bytes) {
    live_ += bytes;
    if (live_ > limits_.live_bytes) {
      live_ -= bytes;
      raise_limit("values of more than {} bytes alive at once", limits_.live_bytes);
    }
  }
  void give(int64_t bytes) { live_ -= bytes; }

 private:
  TemplateLimits limits_;
  int64_t steps_ = 0;
  int64_t live_ = 0;
};

}  // namespace lamina::text::jinja
