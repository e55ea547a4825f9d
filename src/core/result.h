#pragma once

#include <fmt/format.h>

#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace lamina::core {

/// What kind of failure happened; decides the exit status and the HTTP status.
enum class ErrorCode {
  kInvalid,      ///< the caller asked for something impossible (option, recipe, request)
  kNotFound,     ///< a file, a model, a tensor or a name is missing
  kCorrupt,      ///< a file contradicts itself or its format
  kUnsupported,  ///< well formed, but not something this build can do
  kLimit,        ///< too big: memory, context, depth, steps
  kIo,           ///< the operating system refused
  kCancelled,    ///< stopped by the user
};

/// An expected failure. `place` names where (file, tensor, option, character), `message` what is wrong and what would
/// be right.
struct Error {
  ErrorCode code = ErrorCode::kInvalid;
  std::string place;
  std::string message;

  /// "place: message", the form that a person reads.
  std::string text() const { return place.empty() ? message : place + ": " + message; }
};

template <typename T>
using Result = std::expected<T, Error>;
using Status = Result<void>;

/// Builds the error branch of a Result: `return fail(ErrorCode::kCorrupt, "x.gguf", "magic is {:#x}; GGUF expected",
/// magic);`
template <typename... Args>
std::unexpected<Error> fail(ErrorCode code, std::string_view place, fmt::format_string<Args...> format,
                            Args&&... args) {
  return std::unexpected(Error{code, std::string(place), fmt::format(format, std::forward<Args>(args)...)});
}

}  // namespace lamina::core

#define LAMINA_CONCAT_(a, b) a##b
#define LAMINA_CONCAT(a, b) LAMINA_CONCAT_(a, b)

/// Returns the error of a Status or Result to the caller, if it is one.
#define LAMINA_CHECK_OK(expression)                                   \
  do {                                                                \
    auto status_ = (expression);                                      \
    if (!status_) return std::unexpected(std::move(status_).error()); \
  } while (false)

/// Declares `declaration` from a Result, or returns its error to the caller.
#define LAMINA_ASSIGN(declaration, expression)                                                                        \
  auto LAMINA_CONCAT(result_, __LINE__) = (expression);                                                               \
  if (!LAMINA_CONCAT(result_, __LINE__)) return std::unexpected(std::move(LAMINA_CONCAT(result_, __LINE__)).error()); \
  declaration = std::move(*LAMINA_CONCAT(result_, __LINE__))
