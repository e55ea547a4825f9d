#include "lamina/download.h"

#include <httplib.h>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <functional>
#include <optional>
#include <system_error>
#include <thread>

#include "lamina/digest.h"
#include "lamina/progress.h"

namespace lamina::app {

namespace fs = std::filesystem;
using core::Error;
using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

namespace {

constexpr int kMaxRedirects = 10;
constexpr size_t kMaxSmallBody = 64 << 20;

/// What one exchange brought: `error` is set if it failed, `again` if another try may help.
struct Outcome {
  std::optional<Error> error;
  bool again = false;
};

Outcome failed(ErrorCode code, const Url& url, std::string message, bool again = false) {
  const std::string place = url.origin + url.target.substr(0, url.target.find('?'));
  return {Error{code, place, std::move(message)}, again};
}

Outcome failed_status(int status, const Url& url, const HttpSettings& settings) {
  if (status == 404) return failed(ErrorCode::kNotFound, url, "404: there is no such model or file");
  if (status == 401 || status == 403) {
    const std::string why = settings.token.empty() ? "there is no such model, or it needs an access token (HF_TOKEN)"
                                                   : "the access token (HF_TOKEN) does not open this model";
    return failed(ErrorCode::kNotFound, url, fmt::format("{}: {}", status, why));
  }
  const bool again = status == 408 || status == 429 || status >= 500;
  return failed(ErrorCode::kIo, url, fmt::format("the server answers with status {}", status), again);
}

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/// Takes the answer's head (false ends the exchange) and its body.
struct Receiver {
  std::function<bool(const httplib::Response&)> head;
  std::function<bool(const char*, size_t)> body;
};

/// Follows redirects by hand: the token goes to its own origin only, https never becomes http.
Outcome exchange(Url url, int64_t offset, const HttpSettings& settings, const Receiver& receiver) {
  for (int hop = 0; hop <= kMaxRedirects; ++hop) {
    httplib::Client client(url.origin);
    if (!client.is_valid()) return failed(ErrorCode::kInvalid, url, "no connection can be made to this address");
    client.set_follow_location(false);
    client.set_url_encode(false);
    client.set_decompress(false);
    client.set_connection_timeout(settings.timeout);
    client.set_read_timeout(settings.timeout);
    httplib::Headers headers{{"Accept-Encoding", "identity"}, {"User-Agent", "lamina"}};
    if (offset > 0) headers.emplace("Range", fmt::format("bytes={}-", offset));
    if (!settings.token.empty() && url.origin == settings.token_origin) {
      headers.emplace("Authorization", "Bearer " + settings.token);
    }
    int status = 0;
    std::string location;
    bool refused = false;
    const auto head = [&](const httplib::Response& response) {
      status = response.status;
      location = response.get_header_value("Location");
      if (status == 200 || status == 206) refused = !receiver.head(response);
      return !refused;
    };
    const auto body = [&](const char* data, size_t size) {
      if (status == 200 || status == 206) refused = !receiver.body(data, size);
      return !refused;
    };
    const httplib::Result result = client.Get(url.target, headers, head, body);
    if (refused) return failed(ErrorCode::kIo, url, "the answer is not what was asked for", true);
    if (is_redirect(status)) {
      auto next = resolve_redirect(url, location);
      if (!next) return {next.error(), false};
      url = std::move(*next);
      continue;
    }
    if (!result) {
      const auto error = result.error();
      const bool again = error != httplib::Error::SSLServerVerification && error != httplib::Error::SSLLoadingCerts;
      return failed(ErrorCode::kIo, url, "no complete answer: " + httplib::to_string(error), again);
    }
    if (status != 200 && status != 206) return failed_status(status, url, settings);
    return {};
  }
  return failed(ErrorCode::kIo, url, fmt::format("more than {} redirects", kMaxRedirects));
}

/// Whether "bytes 5-9/10" begins at `offset`.
bool range_begins_at(const std::string& content_range, int64_t offset) {
  return content_range.starts_with(fmt::format("bytes {}-", offset));
}

int64_t size_of(const fs::path& path) {
  std::error_code error;
  const auto bytes = fs::file_size(path, error);
  return error ? 0 : static_cast<int64_t>(bytes);
}

/// One try: goes on at the end of `part`, or from the start where the server knows no ranges.
Outcome fetch_part(const DownloadRequest& request, const fs::path& part, const HttpSettings& settings,
                   Progress& progress) {
  const int64_t offset = size_of(part);
  std::ofstream out;
  int64_t written = offset;
  Receiver receiver;
  receiver.head = [&](const httplib::Response& response) {
    const bool resumed = response.status == 206;
    if (resumed && !range_begins_at(response.get_header_value("Content-Range"), offset)) return false;
    if (!resumed) written = 0;
    out.open(part, std::ios::binary | (resumed ? std::ios::app : std::ios::trunc));
    return out.is_open();
  };
  receiver.body = [&](const char* data, size_t size) {
    written += static_cast<int64_t>(size);
    if (request.bytes >= 0 && written > request.bytes) return false;
    out.write(data, static_cast<std::streamsize>(size));
    progress.update(written);
    return out.good();
  };
  Outcome outcome = exchange(request.url, offset, settings, receiver);
  if (out.is_open()) {
    out.flush();
    if (!out) return failed(ErrorCode::kIo, request.url, part.string() + " cannot be written (is the disk full?)");
  }
  if (request.bytes >= 0 && written > request.bytes) {
    out.close();
    std::error_code error;
    fs::remove(part, error);
    return failed(ErrorCode::kCorrupt, request.url, fmt::format("longer than the {} bytes announced", request.bytes));
  }
  if (!outcome.error && request.bytes >= 0 && written < request.bytes) {
    return failed(ErrorCode::kIo, request.url, fmt::format("ended after {} of {} bytes", written, request.bytes), true);
  }
  return outcome;
}

Status check_digest(const DownloadRequest& request, const fs::path& part) {
  for (const auto& [wanted, kind] :
       {std::pair{request.sha256, DigestKind::kSha256}, std::pair{request.git_blob_id, DigestKind::kGitBlob}}) {
    if (wanted.empty()) continue;
    LAMINA_ASSIGN(const std::string digest, file_digest(part, kind));
    if (digest == wanted) continue;
    std::error_code error;
    fs::remove(part, error);
    return fail(ErrorCode::kCorrupt, request.label, "digest {} expected, {} came; it was removed", wanted, digest);
  }
  return {};
}

/// Calls `try_once` until it succeeds, cannot succeed, or brings nothing new `settings.attempts` times in a row.
Status with_retries(const HttpSettings& settings, const std::function<Outcome()>& try_once,
                    const std::function<int64_t()>& reached) {
  auto pause = settings.pause;
  int64_t best = reached();
  for (int left = settings.attempts;;) {
    Outcome outcome = try_once();
    if (!outcome.error) return {};
    if (reached() > best) {
      best = reached();
      left = settings.attempts;
      pause = settings.pause;
    }
    if (!outcome.again || --left <= 0) return std::unexpected(std::move(*outcome.error));
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, settings.pause * 16);
  }
}

}  // namespace

Result<Url> parse_url(std::string_view text) {
  const auto wrong = [&](const char* why) {
    return fail(ErrorCode::kInvalid, text, "{}; http://HOST or https://HOST expected", why);
  };
  const size_t scheme = text.find("://");
  if (scheme == std::string_view::npos) return wrong("not an address");
  const size_t end = std::min(text.find_first_of("/?#", scheme + 3), text.size());
  std::string origin(text.substr(0, end));
  std::transform(origin.begin(), origin.end(), origin.begin(), [](unsigned char c) { return std::tolower(c); });
  if (!origin.starts_with("http://") && !origin.starts_with("https://")) return wrong("unknown scheme");
  if (end == scheme + 3) return wrong("no host");
  for (const char c : text) {
    if (static_cast<unsigned char>(c) <= 0x20 || c == 0x7f) return wrong("blank or control character");
  }
  if (origin.find('@') != std::string::npos) return wrong("a name or password in the address");
  std::string target(text.substr(end, text.find('#') - end));
  if (!target.starts_with('/')) target.insert(0, "/");
  return Url{std::move(origin), std::move(target)};
}

Result<Url> resolve_redirect(const Url& base, std::string_view location) {
  if (location.empty()) return fail(ErrorCode::kIo, base.origin, "redirects to nowhere");
  const std::string scheme = base.origin.substr(0, base.origin.find(':'));
  std::string full;
  const size_t end_of_scheme = location.find("://");
  if (end_of_scheme != std::string_view::npos && end_of_scheme < location.find_first_of("/?#")) {
    full = location;
  } else if (location.starts_with("//")) {
    full = scheme + ":" + std::string(location);
  } else if (location.starts_with('/')) {
    full = base.origin + std::string(location);
  } else {
    const std::string path = base.target.substr(0, base.target.find('?'));
    full = base.origin + path.substr(0, path.rfind('/') + 1) + std::string(location);
  }
  LAMINA_ASSIGN(Url url, parse_url(full));
  if (scheme == "https" && !url.origin.starts_with("https:")) {
    return fail(ErrorCode::kInvalid, base.origin, "redirects from https to {}; refused", url.origin);
  }
  return url;
}

std::string encode_segment(std::string_view segment) {
  std::string encoded;
  for (const char c : segment) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                       c == '.' || c == '_' || c == '~';
    encoded += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return encoded;
}

Result<std::string> http_get(const Url& url, const HttpSettings& settings) {
  std::string text;
  const auto try_once = [&] {
    text.clear();
    Receiver receiver;
    receiver.head = [](const httplib::Response& response) { return response.status == 200; };
    receiver.body = [&](const char* data, size_t size) {
      text.append(data, size);
      return text.size() <= kMaxSmallBody;
    };
    return exchange(url, 0, settings, receiver);
  };
  constexpr int kAttempts = 3;
  HttpSettings fewer = settings;
  fewer.attempts = std::min(settings.attempts, kAttempts);
  LAMINA_CHECK_OK(with_retries(fewer, try_once, [] { return 0; }));
  return text;
}

Status download(const DownloadRequest& request, const HttpSettings& settings) {
  const fs::path part = request.path.string() + ".part";
  std::error_code error;
  fs::create_directories(part.parent_path(), error);
  const bool checked = !request.sha256.empty() || !request.git_blob_id.empty();
  if (!checked || (request.bytes >= 0 && size_of(part) > request.bytes)) fs::remove(part, error);
  {
    Progress progress(request.label, request.bytes);
    const auto try_once = [&]() -> Outcome {
      if (request.bytes >= 0 && size_of(part) == request.bytes && fs::exists(part)) return {};
      return fetch_part(request, part, settings, progress);
    };
    LAMINA_CHECK_OK(with_retries(settings, try_once, [&] { return size_of(part); }));
  }
  LAMINA_CHECK_OK(check_digest(request, part));
  fs::rename(part, request.path, error);
  if (error) return fail(ErrorCode::kIo, request.path.string(), "cannot be named: {}", error.message());
  return {};
}

}  // namespace lamina::app
