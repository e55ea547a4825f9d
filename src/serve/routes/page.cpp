#include "serve/page_files.h"
#include "serve/routes.h"

namespace lamina::serve {

Answer<Reply> answer_page(Call& /*call*/) {
  // The page loads nothing from elsewhere, sends nothing elsewhere, and cannot be put into another site's.
  constexpr const char* kPolicy =
      "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; "
      "form-action 'none'; frame-ancestors 'none'";
  return Reply{.type = "text/html; charset=utf-8",
               .body = std::string(page_files().front().text),
               .headers = {{"Content-Security-Policy", kPolicy}, {"Referrer-Policy", "no-referrer"}}};
}

}  // namespace lamina::serve
