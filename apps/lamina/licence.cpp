#include "lamina/licence.h"

#include <filesystem>
#include <fstream>

#include "lamina/store.h"

namespace lamina::app {

namespace {

constexpr int kMaxHeaderLines = 200;

/// "license: apache-2.0" between the two lines "---" that a model card begins with.
std::string licence_of_card(const std::filesystem::path& card) {
  std::ifstream file(card);
  std::string line;
  if (!std::getline(file, line) || !line.starts_with("---")) return {};
  for (int i = 0; i < kMaxHeaderLines && std::getline(file, line) && !line.starts_with("---"); ++i) {
    constexpr std::string_view kKey = "license:";
    if (!line.starts_with(kKey)) continue;
    const size_t begin = line.find_first_not_of(" \t\"'", kKey.size());
    if (begin == std::string::npos) return {};
    return line.substr(begin, line.find_last_not_of(" \t\r\"'") - begin + 1);
  }
  return {};
}

}  // namespace

std::string licence_of(const format::ModelFiles& files) {
  if (files.gguf() != nullptr) {
    const auto named = files.gguf()->get_or<std::string>("general.license", "");
    if (named && !named->empty()) return *named;
  }
  std::error_code ignored;
  const bool folder = std::filesystem::is_directory(files.path(), ignored);
  const std::filesystem::path place = folder ? files.path() : files.path().parent_path();
  if (std::string noted = read_manifest(place).licence; !noted.empty()) return noted;
  return licence_of_card(place / "README.md");
}

}  // namespace lamina::app
