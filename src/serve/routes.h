#pragma once

#include <span>
#include <string_view>

#include "serve/fields.h"
#include "serve/service.h"

namespace lamina::serve {

/// One endpoint: what it is called by, what it takes, who answers.
struct Route {
  std::string_view method;
  std::string_view path;
  std::string_view summary;
  Answer<Reply> (*handler)(Call& call);
  std::span<const Field> (*fields)() = nullptr;  ///< of the body; null: it has none
  bool open = false;                             ///< answered without a key
};

/// All endpoints.
std::span<const Route> routes();

}  // namespace lamina::serve
