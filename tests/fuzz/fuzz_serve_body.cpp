#include <cstddef>
#include <cstdint>
#include <string_view>
#include <tuple>

#include "serve/fields.h"
#include "serve/routes.h"

using namespace lamina::serve;

// Input: a byte that chooses a route, then a request's body. Whatever is taken must be as the route's table says, and
// come back the same when it is written and read again.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const auto all = routes();
  const Route& route = all[data[0] % all.size()];
  auto body = parse_body({reinterpret_cast<const char*>(data) + 1, size - 1});
  if (!body) {
    // A refusal is an answer too, and must be one that can be sent.
    if (Json::parse(to_text(refusal_json(body.error()))).empty()) __builtin_trap();
    return 0;
  }
  if (route.fields == nullptr) return 0;
  if (const auto checked = check_fields(*body, route.fields()); !checked) {
    if (checked.error().status != 400) __builtin_trap();
    std::ignore = Json::parse(to_text(refusal_json(checked.error())));
    return 0;
  }
  auto again = parse_body(to_text(*body));
  if (!again || *again != *body || !check_fields(*again, route.fields())) __builtin_trap();
  return 0;
}
