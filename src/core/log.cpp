#include "core/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>

#include <cstdlib>
#include <memory>
#include <string>

namespace lamina::core {

void setup_log() {
  auto logger = std::make_shared<spdlog::logger>("lamina", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
  logger->set_pattern("%H:%M:%S.%e %^%l%$ %v");
  const char* level = std::getenv("LAMINA_LOG");
  logger->set_level(spdlog::level::from_str(level == nullptr ? "warn" : level));
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace lamina::core
