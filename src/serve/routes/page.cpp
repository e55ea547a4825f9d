#include "serve/page_files.h"
#include "serve/routes.h"

namespace lamina::serve {

namespace {

/// The page's file with its style and its scripts, in the order of the build's list, where it marks their places.
std::string whole_page() {
  const auto files = page_files();
  std::string page(files.front().text);
  const auto put = [&](std::string_view mark, std::string_view text) {
    if (const size_t at = page.find(mark); at != std::string::npos) page.replace(at, mark.size(), text);
  };
  put("/*style*/", files[1].text);
  std::string script;
  for (const PageFile& file : files.subspan(2)) script += file.text;
  put("/*script*/", script);
  return page;
}

}  // namespace

Answer<Reply> answer_page(Call& /*call*/) {
  // The page loads nothing from elsewhere, sends nothing elsewhere, and cannot be put into another site's.
  constexpr const char* kPolicy =
      "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
      "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
  static const std::string page = whole_page();
  return Reply{.type = "text/html; charset=utf-8",
               .body = page,
               .headers = {{"Content-Security-Policy", kPolicy}, {"Referrer-Policy", "no-referrer"}}};
}

}  // namespace lamina::serve
