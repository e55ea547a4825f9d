#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/result.h"
#include "format/gguf_writer.h"

namespace lamina::compress {

/// How a sentence encoder makes one vector of a text's rows, in the numbers of {arch}.pooling_type: 1 mean, 2 cls,
/// 3 last. Nothing when the folder says nothing of it; `notes` are told of what the number cannot say (Dense modules,
/// prompts, other modes).
core::Result<std::optional<uint32_t>> pooling_of_folder(const std::filesystem::path& folder,
                                                        std::vector<std::string>& notes);

/// A text file of a folder.
struct SideFile {
  std::string name;  ///< may lie in a folder of its own
  std::string text;
};
/// The files by which a folder says that pooling: modules.json and what it lists. Empty for other numbers.
std::vector<SideFile> pooling_files(int64_t type);

}  // namespace lamina::compress
