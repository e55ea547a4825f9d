#pragma once

#include <string>

#include "format/model_files.h"

namespace lamina::app {

/// The licence that the model's files name: general.license of a GGUF file, what `pull` noted, or "license:" at the
/// head of the folder's README.md. Empty when nothing names one.
std::string licence_of(const format::ModelFiles& files);

}  // namespace lamina::app
