#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "lamina/cli.h"

namespace lamina::app {

inline constexpr int32_t kMostParallel = 256;

/// What `lamina serve` is told, by its command line or by a file.
struct ServeOptions {
  CommonOptions common;
  std::vector<std::string> models;
  std::string config;
  std::string host = "127.0.0.1";
  int port = 8080;
  std::vector<std::string> keys;
  std::string key_file;
  bool without_key = false;
  std::string certificate;
  std::string certificate_key;
  int32_t parallel = 16;
  int64_t queue = 128;
  int64_t cache_tokens = 0;
  int64_t cache_bytes = 0;
  double max_gap_ms = 0;
  int unload_idle = 0;
  std::string sessions;
  std::vector<std::string> origins;
  int drain_seconds = 30;
  int connections = 1024;
  int64_t body_bytes = 16 << 20;
  int64_t header_bytes = 32 << 10;
  double request_seconds = 30;
  double idle_seconds = 60;
  double write_seconds = 30;
  int64_t watch_every = 8;
  std::string log = "text";
};

/// Declares the options; they are read into `options`, which must outlive the command.
void declare_serve_options(CLI::App& command, ServeOptions& options);

/// Whether only this machine reaches that address.
bool is_loopback(const std::string& host);

/// The keys of the options and of their file. kInvalid: an empty one, a file without any.
core::Result<std::vector<std::string>> read_keys(const ServeOptions& options);

/// Whether these options may go together with these keys.
core::Status check_serve_options(const ServeOptions& options, const std::vector<std::string>& keys);

}  // namespace lamina::app
