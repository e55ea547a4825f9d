#pragma once

#include <filesystem>

namespace lamina {

/// The root of the source tree. One file alone is compiled with it, so that a second clone finds the others' objects.
std::filesystem::path source_dir();

}  // namespace lamina
