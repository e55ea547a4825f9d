#pragma once

#include <string>

#include "lamina/generation_options.h"
#include "lamina/session.h"

namespace lamina::app {

/// A conversation on the terminal: lines with history, Ctrl-C stops the answer, Ctrl-D or /quit ends.
core::Status run_chat(Session& session, const GenerationOptions& options, const std::string& system);

}  // namespace lamina::app
