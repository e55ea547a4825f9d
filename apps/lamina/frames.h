#pragma once

#include <string>
#include <vector>

#include "core/result.h"
#include "models/model.h"

namespace lamina::app {

/// Whether the model's encoder reads frames, such as a spectrogram's, in place of tokens.
bool reads_frames(const models::Model& model);

/// The frames of a float32 .npy file [features, frames] or [1, features, frames], as the model's encoder takes them.
core::Result<std::vector<float>> read_frames(const std::string& path, const models::Model& model);

}  // namespace lamina::app
