#include "lamina/serve_options.h"

#include <set>

namespace lamina::app {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

namespace {

void declare_models(CLI::App& command, ServeOptions& options) {
  command.add_option("MODEL", options.models,
                     "models, each a file, a folder or a name in the store; NAME=MODEL names it, "
                     "MODEL?parallel=4&ctx=2048&cache-tokens=8192&recipe=... gives it limits of its own");
  command.add_option("--config", options.config,
                     "a JSON file with these options, unless the command line has them; read again at SIGHUP");
  CommonOptions& common = options.common;
  command.add_option("--recipe", common.recipe, "techniques to apply to every model; see `lamina techniques`");
  command.add_option("--threads", common.threads, "threads; as many as this process may use by default")
      ->check(CLI::Range(1, 256));
  command.add_option("--ctx", common.context, "positions that a text and its answer may have; 4096 by default")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24));
  command.add_option("--activations", common.activations, "int8 (fast) or f32 (exact, slow)")
      ->check(CLI::IsMember({"int8", "f32"}));
}

void declare_access(CLI::App& command, ServeOptions& options) {
  command.add_option("--host", options.host, "the address to listen on")->capture_default_str();
  command.add_option("--port", options.port, "0: any free one")->capture_default_str()->check(CLI::Range(0, 65535));
  command.add_option("--api-key", options.keys, "requests must carry it (may be repeated)")->allow_extra_args(false);
  command.add_option("--api-key-file", options.key_file, "a file with such keys, one a line");
  command.add_flag("--without-key", options.without_key, "listen on other addresses without any key");
  command.add_option("--tls-cert", options.certificate, "a certificate in PEM, with those that it rests on: HTTPS");
  command.add_option("--tls-key", options.certificate_key, "its key in PEM");
  command.add_option("--cors", options.origins, "an origin whose pages may ask, or * (may be repeated)")
      ->allow_extra_args(false);
}

void declare_work(CLI::App& command, ServeOptions& options) {
  command.add_option("--parallel", options.parallel, "texts that are written at once")
      ->capture_default_str()
      ->check(CLI::Range(1, kMostParallel));
  command.add_option("--queue", options.queue, "texts that may wait for each model; more are refused with 429")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20));
  CLI::Option* tokens =
      command.add_option("--cache-tokens", options.cache_tokens, "positions of all texts together; 32768 by default")
          ->check(CLI::Range(int64_t{64}, int64_t{1} << 32));
  command.add_option("--cache-bytes", options.cache_bytes, "the same as a size, such as 512MiB, for each model")
      ->transform(CLI::AsSizeValue(false))
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 50))
      ->excludes(tokens);
  command
      .add_option("--max-token-gap-ms", options.max_gap_ms,
                  "between two tokens while long prompts are read; three times a plain step by default")
      ->check(CLI::Range(0.0, 1e6));
  command
      .add_option("--unload-idle", options.unload_idle,
                  "seconds after which a model that nobody asks leaves memory; the next request loads it again")
      ->check(CLI::Range(1, 1 << 30));
  command.add_option("--sessions", options.sessions, "a folder in which /admin/sessions saves texts that are kept")
      ->check(CLI::ExistingDirectory);
  command
      .add_option("--watch-every", options.watch_every,
                  "measure the layers of every so many-th step, for /v1/layers; 0: of none")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 20));
}

void declare_limits(CLI::App& command, ServeOptions& options) {
  command.add_option("--connections", options.connections, "open at once")
      ->capture_default_str()
      ->check(CLI::Range(1, 65536));
  command.add_option("--body-bytes", options.body_bytes, "of a request's body at most")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{1} << 10, int64_t{1} << 30));
  command.add_option("--header-bytes", options.header_bytes, "of a request's head at most")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{1} << 10, int64_t{1} << 20));
  command.add_option("--request-seconds", options.request_seconds, "in which a request must arrive")
      ->capture_default_str()
      ->check(CLI::Range(0.1, 3600.0));
  command.add_option("--idle-seconds", options.idle_seconds, "that a connection may wait for its next request")
      ->capture_default_str()
      ->check(CLI::Range(0.1, 3600.0));
  command.add_option("--write-seconds", options.write_seconds, "in which a client must take something of its answer")
      ->capture_default_str()
      ->check(CLI::Range(0.1, 3600.0));
  command.add_option("--drain", options.drain_seconds, "seconds that running requests have when the server ends")
      ->capture_default_str()
      ->check(CLI::Range(0, 3600));
  command.add_option("--log", options.log, "a line for each request: text, json or off")
      ->capture_default_str()
      ->check(CLI::IsMember({"text", "json", "off"}));
}

}  // namespace

void declare_serve_options(CLI::App& command, ServeOptions& options) {
  declare_models(command, options);
  declare_access(command, options);
  declare_work(command, options);
  declare_limits(command, options);
  add_json_option(command, options.common.json);
}

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

Result<std::vector<std::string>> read_keys(const ServeOptions& options) {
  std::vector<std::string> keys = options.keys;
  if (!options.key_file.empty()) {
    LAMINA_ASSIGN(const std::string text, read_file(options.key_file));
    const size_t before = keys.size();
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = std::min(text.find('\n', begin), text.size());
      if (end > begin) keys.push_back(text.substr(begin, end - begin));
      begin = end + 1;
    }
    if (keys.size() == before) return fail(ErrorCode::kInvalid, options.key_file, "has no key; one a line expected");
  }
  for (const std::string& key : keys) {
    if (key.empty()) return fail(ErrorCode::kInvalid, "--api-key", "it is empty; a secret text expected");
  }
  return keys;
}

Status check_serve_options(const ServeOptions& options, const std::vector<std::string>& keys) {
  if (options.models.empty())
    return fail(ErrorCode::kInvalid, "MODEL", "none is named; at least one expected, here or in the file of --config");
  if (options.certificate.empty() != options.certificate_key.empty())
    return fail(ErrorCode::kInvalid, "--tls-cert", "it goes with --tls-key; both or none expected");
  if (!is_loopback(options.host) && keys.empty() && !options.without_key) {
    return fail(ErrorCode::kInvalid, "--host",
                "{} can be reached by others; --api-key, or --without-key to let everybody in, expected", options.host);
  }
  return {};
}

}  // namespace lamina::app
