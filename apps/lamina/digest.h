#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "core/result.h"

namespace lamina::app {

enum class DigestKind {
  kSha256,
  kGitBlob,  ///< SHA-1 of "blob <size>", a zero byte and the content: how git names a file
};

/// The digest of a file in small hexadecimal letters.
core::Result<std::string> file_digest(const std::filesystem::path& path, DigestKind kind);

}  // namespace lamina::app
