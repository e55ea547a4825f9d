#include "lamina/request_log.h"

#include <fmt/format.h>

#include <array>
#include <ctime>

namespace lamina::app {

void RequestLog::operator()(const serve::RequestRecord& record) const {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::array<char, 32> time{};
  std::strftime(time.data(), time.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  const double milliseconds = 1e3 * record.seconds;
  if (!json_) {
    fmt::print(stderr, "{} {} {} {} {} {} {} {}+{} tokens {:.0f} ms\n", time.data(), record.told_id, record.client,
               record.method, record.path, record.status, record.model.empty() ? "-" : record.model,
               record.prompt_tokens, record.completion_tokens, milliseconds);
    return;
  }
  const serve::Json line{{"time", time.data()},
                         {"id", record.told_id},
                         {"client", record.client},
                         {"method", record.method},
                         {"path", record.path},
                         {"status", record.status},
                         {"model", record.model},
                         {"prompt_tokens", record.prompt_tokens},
                         {"completion_tokens", record.completion_tokens},
                         {"milliseconds", milliseconds}};
  fmt::print(stderr, "{}\n", serve::to_text(line));
}

}  // namespace lamina::app
