#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iomanip>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <sstream>
#include <string>
#include <vector>

#include "format/npy.h"

namespace lamina::run {

/// The numbers of a version 1 .npy file of that type ("<i4", "<f4", "<f8"): they are the end of the file.
template <typename T>
std::vector<T> read_npy(const std::filesystem::path& path, const std::string& type) {
  std::ifstream file(path, std::ios::binary);
  const std::string bytes(std::istreambuf_iterator<char>(file), {});
  EXPECT_NE(bytes.find("'" + type + "'"), std::string::npos) << path;
  const size_t begin = 10 + static_cast<unsigned char>(bytes.at(8)) + 256 * static_cast<unsigned char>(bytes.at(9));
  std::vector<T> numbers((bytes.size() - begin) / sizeof(T));
  std::memcpy(numbers.data(), bytes.data() + begin, numbers.size() * sizeof(T));
  return numbers;
}

inline nlohmann::json read_json(const std::filesystem::path& path) {
  std::ifstream file(path);
  return nlohmann::json::parse(file);
}

/// All numbers of a .npy file of float32.
inline std::vector<float> read_numbers(const std::filesystem::path& path) {
  const auto file = format::NpyFile::open(path).value();
  return {file.row(0).data(), file.row(0).data() + file.rows() * file.row_elements()};
}

/// Largest difference over the largest magnitude.
inline double relative_error(std::span<const float> found, std::span<const float> wanted) {
  if (found.size() != wanted.size()) return INFINITY;
  double difference = 0;
  double magnitude = 0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (!(std::abs(found[i]) < 1e30F)) return INFINITY;
    difference = std::max(difference, std::abs(double{found[i]} - double{wanted[i]}));
    magnitude = std::max(magnitude, std::abs(double{wanted[i]}));
  }
  return difference / magnitude;
}

/// Notes a figure of the running test for tools/correctness.py: `name` is snake_case. The last value counts.
inline void record_figure(const std::string& name, double value) {
  std::ostringstream text;
  text << std::setprecision(3) << value;
  testing::Test::RecordProperty("figure_" + name, text.str());
}

/// Where the store has that model, or would.
inline std::filesystem::path stored_model(const std::string& model) {
  const char* root = std::getenv("LAMINA_HOME");
  const char* home = std::getenv("HOME");
  const std::filesystem::path store = root != nullptr
                                          ? std::filesystem::path(root)
                                          : std::filesystem::path(home == nullptr ? "" : home) / ".cache/lamina";
  return store / "models" / model;
}

/// The only .gguf file of a model of the store, or nothing.
inline std::optional<std::filesystem::path> stored_gguf(const std::string& model) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(stored_model(model), error)) {
    if (entry.path().extension() == ".gguf") return entry.path();
  }
  return std::nullopt;
}

}  // namespace lamina::run
