#include "lamina/packed.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "core/checksum.h"
#include "lamina/progress.h"
#include "lamina/store.h"

namespace lamina::app {

namespace fs = std::filesystem;

fs::path packed_folder() {
  return store_root() / "packed";
}

fs::path packed_path(const models::Model& model, bool exact) {
  std::error_code error;
  fs::path source = fs::canonical(model.files().path(), error);
  if (error) source = model.files().path();
  const std::string text = source.string() + (exact ? "\nexact\n" : "\n") + model.weights().recoded();
  return packed_folder() /
         fmt::format("{}-{:016x}.packed", source.stem().string(), core::checksum(std::as_bytes(std::span(text))));
}

core::Status use_packed(models::Model& model, const fs::path& path) {
  LAMINA_ASSIGN(format::PackedFile packed, format::PackedFile::open(path));
  return model.load_packed(std::move(packed));
}

bool load_packed(models::Model& model, bool exact) {
  const char* setting = std::getenv("LAMINA_PACKED");
  if (setting != nullptr && std::string_view(setting) == "off") return false;
  const core::Status status = use_packed(model, packed_path(model, exact));
  if (status) return true;
  if (status.error().code != core::ErrorCode::kNotFound)
    note(fmt::format("packed weights are not used; `lamina pack` makes them anew: {}", status.error().text()));
  return false;
}

std::vector<fs::path> packed_files() {
  std::vector<fs::path> files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(packed_folder(), error)) {
    if (entry.path().extension() == ".packed") files.push_back(entry.path());
  }
  std::ranges::sort(files);
  return files;
}

}  // namespace lamina::app
