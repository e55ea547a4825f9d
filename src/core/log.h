#pragma once

#include <spdlog/spdlog.h>

namespace lamina::core {

/// Log lines go to standard error; `LAMINA_LOG` sets the level (trace, debug, info, warn, error, off), "warn" by
/// default.
void setup_log();

}  // namespace lamina::core
