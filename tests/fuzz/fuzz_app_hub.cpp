// What comes from the network or a command line: addresses, redirects, the hub's list of files, references, catalogues.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "lamina/catalog.h"
#include "lamina/hub.h"

using namespace lamina::app;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto url = resolve_redirect({"https://h", "/a/b?c"}, text)) {
    if (!url->origin.starts_with("https://") || !url->target.starts_with('/')) std::abort();
  }
  const auto reference = parse_hub_reference(text);
  if (reference && reference->file.find("..") == 0) std::abort();
  if (const auto model = parse_hub_model(text)) {
    const auto files = choose_files(*model, reference.value_or(HubReference{"o/n", ""}));
    for (const HubFile& file : files.value_or(std::vector<HubFile>{})) {
      if (!check_file_name(file.name)) std::abort();
    }
  }
  (void)parse_catalog(text);
  return 0;
}
