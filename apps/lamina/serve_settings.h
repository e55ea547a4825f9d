#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "lamina/serve_options.h"
#include "serve/service.h"

namespace lamina::app {

/// The options of a server that hold now, and how its files change them while it runs.
class ServeSettings {
 public:
  ServeSettings(const CLI::App& command, const ServeOptions& from_line);

  /// Reads the file of --config, the keys and the certificate.
  core::Status read();
  /// Reads them again, and says on standard error what has come of it; on an error nothing has changed.
  void reload(serve::Service& service);
  /// Whether there are files to read again.
  bool has_files() const;

  const ServeOptions& options() const { return options_; }
  serve::ServiceOptions service_options() const;

 private:
  serve::ServiceRules rules() const;
  core::Status read_options(const std::optional<std::string>& listening);

  ServeOptions from_line_;
  std::set<std::string> given_;  ///< by the command line, which the file does not change
  ServeOptions options_;
  nlohmann::ordered_json config_ = nlohmann::ordered_json::object();
  std::vector<std::string> keys_;
  std::shared_ptr<serve::Tls> tls_;
};

}  // namespace lamina::app
