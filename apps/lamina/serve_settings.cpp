#include "lamina/serve_settings.h"

#include <fmt/format.h>

#include "lamina/request_log.h"
#include "lamina/serve_config.h"

namespace lamina::app {

using core::Status;

namespace {

/// Whether a field's new value counts without a new start.
bool can_change(const std::string& field) {
  static const std::set<std::string> kFields{"api_key", "api_key_file", "without_key", "cors",
                                             "queue",   "connections",  "drain",       "log"};
  return kFields.contains(field);
}

std::chrono::milliseconds milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<int64_t>(1e3 * seconds));
}

}  // namespace

ServeSettings::ServeSettings(const CLI::App& command, const ServeOptions& from_line)
    : from_line_(from_line), given_(given_options(command)), options_(from_line) {}

Status ServeSettings::read() {
  LAMINA_CHECK_OK(read_options(std::nullopt));
  if (options_.certificate.empty()) return {};
  LAMINA_ASSIGN(tls_, serve::Tls::open(options_.certificate, options_.certificate_key));
  return {};
}

/// `listening`: the address of a server that runs, which stays.
Status ServeSettings::read_options(const std::optional<std::string>& listening) {
  ServeOptions options = from_line_;
  nlohmann::ordered_json config = nlohmann::ordered_json::object();
  CLI::App command;
  declare_serve_options(command, options);
  if (!options.config.empty()) {
    LAMINA_ASSIGN(config, read_config(options.config, command, given_));
  }
  options.host = listening.value_or(options.host);
  LAMINA_ASSIGN(std::vector<std::string> keys, read_keys(options));
  LAMINA_CHECK_OK(check_serve_options(options, keys));
  if (tls_) LAMINA_CHECK_OK(tls_->reload());
  options_ = std::move(options);
  config_ = std::move(config);
  keys_ = std::move(keys);
  return {};
}

void ServeSettings::reload(serve::Service& service) {
  const nlohmann::ordered_json before = config_;
  if (const Status status = read_options(options_.host); !status) {
    fmt::print(stderr, "lamina: nothing has changed: {}\n", status.error().text());
    return;
  }
  service.change(rules());
  service.change_limits(options_.connections, options_.queue);
  std::string fixed;
  for (const std::string& field : changed_fields(before, config_)) {
    if (!can_change(field) && !given_.contains(field)) fixed += (fixed.empty() ? "" : ", ") + field;
  }
  fmt::print(stderr, "lamina: the options were read again{}\n",
             fixed.empty() ? "" : fmt::format("; these wait for the next start: {}", fixed));
}

bool ServeSettings::has_files() const {
  return !from_line_.config.empty() || !options_.key_file.empty() || tls_ != nullptr;
}

serve::ServiceRules ServeSettings::rules() const {
  serve::ServiceRules rules{
      .keys = keys_, .origins = options_.origins, .checks_host = is_loopback(options_.host) && keys_.empty()};
  if (options_.log != "off") rules.log = RequestLog(options_.log == "json");
  return rules;
}

serve::ServiceOptions ServeSettings::service_options() const {
  return {.rules = rules(),
          .sessions = options_.sessions,
          .scheduler = {.queue = options_.queue,
                        .pace = {.max_gap_seconds = options_.max_gap_ms / 1e3},
                        .unload_idle = std::chrono::seconds(options_.unload_idle)},
          .http = {.connections = options_.connections,
                   .header_bytes = options_.header_bytes,
                   .body_bytes = options_.body_bytes,
                   .request = milliseconds(options_.request_seconds),
                   .idle = milliseconds(options_.idle_seconds),
                   .write = milliseconds(options_.write_seconds)},
          .tls = tls_};
}

}  // namespace lamina::app
