#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "core/result.h"

namespace lamina::app {

/// An address split where a connection ends and a request begins.
struct Url {
  std::string origin;  ///< "https://host:port"
  std::string target;  ///< "/path?query"
};

/// Reads an http or https address; kInvalid for anything else, and for one that carries a name or password.
core::Result<Url> parse_url(std::string_view text);

/// Where a redirect from `base` leads. kInvalid if it leads from https to http.
core::Result<Url> resolve_redirect(const Url& base, std::string_view location);

/// A path segment with everything but unreserved characters percent-encoded.
std::string encode_segment(std::string_view segment);

struct HttpSettings {
  std::string token;         ///< bearer token, sent to token_origin alone
  std::string token_origin;  ///< Url::origin
  int attempts = 6;          ///< tries in a row that bring no byte further
  std::chrono::milliseconds pause{1000};
  std::chrono::seconds timeout{60};
};

/// The body of a small answer. Errors: kNotFound for 404, 401 and 403, kIo for the rest.
core::Result<std::string> http_get(const Url& url, const HttpSettings& settings);

struct DownloadRequest {
  Url url;
  std::filesystem::path path;  ///< a part of it lies beside it with ".part" at the end
  std::string label;
  int64_t bytes = -1;       ///< -1: unknown
  std::string sha256;       ///< empty: unknown
  std::string git_blob_id;  ///< empty: unknown
};

/// Fetches a file, goes on from its part after a broken connection, checks size and digest, then gives it its name.
/// A part whose digest is wrong is removed (kCorrupt).
core::Status download(const DownloadRequest& request, const HttpSettings& settings);

}  // namespace lamina::app
