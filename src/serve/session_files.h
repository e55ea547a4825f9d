#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "serve/scheduler.h"

namespace lamina::serve {

/// Which text a session is of, and whose.
struct SessionText {
  size_t model = 0;
  std::vector<int32_t> tokens;
  std::string family;  ///< as GenerationJob::tenant: the text is shared within it
};

/// Saves what is kept of the text's beginning under that path, complete or not at all; returns how many tokens.
/// kNotFound: nothing is kept of it.
core::Result<int64_t> save_session(Scheduler& scheduler, const ServedModel& model, const SessionText& text,
                                   const std::filesystem::path& path);

/// Keeps again what was saved, for texts of the same family; returns how many tokens. kCorrupt: a damaged file;
/// kInvalid: of another model, recipe or family; kLimit: the cache has no room.
core::Result<int64_t> restore_session(Scheduler& scheduler, const ServedModel& model, const SessionText& text,
                                      const std::filesystem::path& path);

}  // namespace lamina::serve
