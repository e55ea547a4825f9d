#include "text/scripts.h"

#include <algorithm>
#include <iterator>

#include "text/script_table.h"

namespace lamina::text {

uint8_t script_of(char32_t c) {
  const auto* span = std::ranges::lower_bound(tables::kScripts, c, {}, &tables::ScriptSpan::last);
  return span != std::end(tables::kScripts) && span->first <= c ? span->script : uint8_t{0};
}

}  // namespace lamina::text
