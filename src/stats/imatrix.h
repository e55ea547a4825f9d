#pragma once

#include <filesystem>

#include "core/result.h"
#include "stats/statistics.h"

namespace lamina::stats {

/// Writes the squares as a GGUF file that llama.cpp's quantizer reads as its importance matrix: for each tensor
/// "<name>.in_sum2" [matrices, inputs] and "<name>.counts" [matrices, 1], float32. The names are those of the model's
/// own file, so the model should be a GGUF file. What parts of layers add is left out. kInvalid: no tokens.
core::Status write_imatrix(const Statistics& statistics, const std::filesystem::path& path);

/// Reads such a file. It does not say which model it was made of, so Statistics::model is empty, and check_model()
/// compares names and sizes. kCorrupt: tensors that do not fit together, or numbers below 0.
core::Result<Statistics> read_imatrix(const std::filesystem::path& path);

}  // namespace lamina::stats
