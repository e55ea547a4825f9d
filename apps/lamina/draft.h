#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "lamina/session.h"

namespace lamina::app {

/// What guesses tokens for the session's runner; null when its recipe has no draft. A draft's model is loaded, and
/// refused when its tokens are not the model's.
core::Result<std::unique_ptr<run::Speculation>> open_speculation(const Session& session, const CommonOptions& options);

/// What came of guessing, as an object and as a line.
nlohmann::ordered_json draft_json(const run::DraftCounts& counts);
std::string draft_text(const run::DraftCounts& counts);

}  // namespace lamina::app
