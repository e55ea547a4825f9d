#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "serve/fields.h"
#include "serve/service.h"

namespace lamina::serve {

/// One endpoint: what it is called by, what it takes, who answers.
struct Route {
  std::string_view method;
  std::string_view path;  ///< {id} in it stands for any name without a slash
  std::string_view summary;
  Answer<Reply> (*handler)(Call& call);
  std::span<const Field> (*fields)() = nullptr;  ///< of the body; null: it has none
  bool open = false;                             ///< answered without a key
};

/// What stands for {id} in the route's path; empty where the path has none. Nothing: the paths do not match.
std::optional<std::string_view> match_path(std::string_view route, std::string_view path);

/// All endpoints.
std::span<const Route> routes();

}  // namespace lamina::serve
