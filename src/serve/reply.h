#pragma once

#include <expected>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/result.h"

namespace lamina::serve {

using Json = nlohmann::ordered_json;

/// Why a request gets no answer.
struct Refusal {
  int status = 400;
  std::string message;
  std::string field{};  ///< of the request, that is at fault; empty: none
  std::string code{};   ///< for programs; empty: none

  Refusal(int status_, std::string message_, std::string field_ = {}, std::string code_ = {})
      : status(status_), message(std::move(message_)), field(std::move(field_)), code(std::move(code_)) {}
  /// The status follows from the kind of error.
  Refusal(const core::Error& error);  // NOLINT: errors become refusals where they are returned

  /// The value of "type" in the answer.
  std::string_view type() const;
};

template <typename T>
using Answer = std::expected<T, Refusal>;

template <typename... Args>
std::unexpected<Refusal> refuse(int status, std::string_view field, fmt::format_string<Args...> format,
                                Args&&... args) {
  return std::unexpected(Refusal(status, fmt::format(format, std::forward<Args>(args)...), std::string(field)));
}

/// Takes a piece of a streamed body; false when the client is gone.
using Write = std::function<bool(std::string_view piece)>;

/// What a client gets.
struct Reply {
  int status = 200;
  std::string type = "application/json";
  std::string body{};
  std::vector<std::pair<std::string, std::string>> headers{};
  std::function<void(const Write& write)> stream{};  ///< writes the body piece by piece instead
};

/// JSON as text; broken UTF-8 cannot occur in it.
std::string to_text(const Json& value);
Reply json_reply(const Json& value);
Reply refusal_reply(const Refusal& refusal);
/// The error object of a refusal.
Json refusal_json(const Refusal& refusal);

}  // namespace lamina::serve
