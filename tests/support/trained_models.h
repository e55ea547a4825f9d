#pragma once

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>

#include "support/source_dir.h"

namespace lamina {

/// Where small trained models are looked for: $LAMINA_TEST_MODELS, or shared/models beside the source tree.
inline std::filesystem::path trained_models() {
  const char* set = std::getenv("LAMINA_TEST_MODELS");
  if (set != nullptr) return set;
  return source_dir() / ".." / "shared" / "models";
}

/// The folder of that trained model, or nothing when it is not there.
inline std::optional<std::filesystem::path> trained_model(const std::string& name) {
  const std::filesystem::path folder = trained_models() / name;
  std::error_code error;
  if (std::filesystem::exists(folder / "model.safetensors", error)) return folder;
  return std::nullopt;
}

}  // namespace lamina
