#include "lamina/store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <system_error>

#include "lamina/catalog.h"
#include "lamina/digest.h"

namespace lamina::app {

namespace fs = std::filesystem;
using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;
using nlohmann::json;

namespace {

constexpr const char* kManifestName = ".lamina.json";

std::vector<std::string> gguf_files(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with(".") && name.ends_with(".gguf")) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

bool looks_like_model(const fs::path& folder) {
  std::error_code error;
  return fs::exists(folder / kManifestName, error) || fs::exists(folder / "config.json", error) ||
         fs::exists(folder / "tokenizer.json", error) || !gguf_files(folder).empty();
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text.empty() ? "nothing" : text;
}

Result<fs::path> in_folder(const fs::path& folder, std::string_view model, std::string_view file) {
  std::error_code error;
  const std::vector<std::string> ggufs = gguf_files(folder);
  if (file == "safetensors") return folder;
  if (!file.empty()) {
    if (check_file_name(file) && fs::exists(folder / file, error)) return folder / file;
    return fail(ErrorCode::kNotFound, model, "the stored model has no such file; it has {}", joined(ggufs));
  }
  if (ggufs.size() > 1 && !fs::exists(folder / "config.json", error)) {
    return fail(ErrorCode::kInvalid, model, "has several files; name one as {}:FILE, out of {}", model, joined(ggufs));
  }
  return ggufs.size() == 1 ? folder / ggufs.front() : folder;
}

Status io_error(const fs::path& path, std::string_view what, const std::error_code& error) {
  return fail(ErrorCode::kIo, path.string(), "{}: {}", what, error.message());
}

/// "owner/name" as one file name.
std::string flat_name(std::string_view name) {
  std::string flat;
  for (const char c : name) flat += c == '/' ? std::string("--") : std::string(1, c);
  return flat;
}

}  // namespace

fs::path store_root() {
  const char* home = std::getenv("LAMINA_HOME");
  if (home != nullptr && *home != '\0') return home;
  const char* user = std::getenv("HOME");
  return fs::path(user == nullptr ? "." : user) / ".cache" / "lamina";
}

fs::path model_folder(const fs::path& root, std::string_view name) {
  return root / "models" / name;
}

std::vector<std::string> stored_models(const fs::path& root) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(root / "models", error)) {
    const std::string name = entry.path().filename();
    if (name.starts_with(".") || !entry.is_directory(error)) continue;
    if (looks_like_model(entry.path())) {
      names.push_back(name);
      continue;
    }
    for (const auto& inner : fs::directory_iterator(entry.path(), error)) {
      if (inner.is_directory(error) && looks_like_model(inner.path())) {
        names.push_back(name + "/" + inner.path().filename().string());
      }
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

Result<fs::path> resolve_model(std::string_view model, const fs::path& root) {
  std::error_code error;
  if (model.empty()) return fail(ErrorCode::kInvalid, "MODEL", "is empty; a file, a folder or a stored name expected");
  if (fs::exists(fs::path(model), error)) return fs::path(model);
  if (model.starts_with("hf:")) model.remove_prefix(3);
  const size_t colon = model.find(':');
  const std::string_view name = model.substr(0, colon);
  const std::string_view file = colon == std::string_view::npos ? std::string_view{} : model.substr(colon + 1);
  if (check_file_name(name)) {
    const fs::path folder = model_folder(root, name);
    if (fs::is_directory(folder, error) && looks_like_model(folder)) return in_folder(folder, model, file);
  }
  std::vector<std::string> known;
  for (const CatalogModel& entry : catalog()) known.push_back(entry.name);
  return fail(ErrorCode::kNotFound, model,
              "no such file or folder, and no model of that name in the store, which has {}; `lamina pull` fetches {}, "
              "or hf:OWNER/NAME",
              joined(stored_models(root)), joined(known));
}

Status check_file_name(std::string_view name) {
  const auto refuse = [&] {
    return fail(ErrorCode::kInvalid, name, "unsafe file name; plain parts separated by / expected");
  };
  if (name.empty() || name.size() > 1024) return refuse();
  for (const char c : name) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f || c == '\\' || c == ':') return refuse();
  }
  for (size_t at = 0; at <= name.size();) {
    const size_t end = std::min(name.find('/', at), name.size());
    const std::string_view part = name.substr(at, end - at);
    if (part.empty() || part.starts_with('.') || part.size() > 255) return refuse();
    at = end + 1;
  }
  return {};
}

Manifest read_manifest(const fs::path& folder) {
  Manifest manifest;
  std::ifstream in(folder / kManifestName);
  if (!in) return manifest;
  try {
    const json all = json::parse(in);
    manifest.source = all.value("source", "");
    manifest.licence = all.value("licence", "");
    for (const json& file : all.at("files")) {
      manifest.files.push_back({file.at("name"), file.at("bytes"), file.at("sha256")});
    }
  } catch (const json::exception&) {
    return {};
  }
  return manifest;
}

Status write_manifest(const fs::path& folder, const Manifest& manifest) {
  json files = json::array();
  for (const StoredFile& file : manifest.files) {
    files.push_back({{"name", file.name}, {"bytes", file.bytes}, {"sha256", file.sha256}});
  }
  const json all = {{"source", manifest.source}, {"licence", manifest.licence}, {"files", files}};
  const fs::path path = folder / kManifestName;
  const fs::path fresh = folder / (std::string(kManifestName) + ".new");
  {
    std::ofstream out(fresh);
    out << all.dump(1, ' ', false, json::error_handler_t::replace) << "\n";
    if (!out.flush()) return fail(ErrorCode::kIo, fresh.string(), "cannot be written");
  }
  std::error_code error;
  fs::rename(fresh, path, error);
  return error ? io_error(path, "cannot be written", error) : Status{};
}

bool has_file(const fs::path& folder, const Manifest& manifest, const StoredFile& file) {
  std::error_code error;
  const auto bytes = fs::file_size(folder / file.name, error);
  if (error || static_cast<int64_t>(bytes) != file.bytes) return false;
  for (const StoredFile& known : manifest.files) {
    if (known.name == file.name) return known == file;
  }
  if (file.sha256.empty()) return false;
  const auto digest = file_digest(folder / file.name, DigestKind::kSha256);
  return digest && *digest == file.sha256;
}

Result<Stage> Stage::open(const fs::path& root, std::string_view name, void (*waiting)()) {
  const fs::path place = root / "models" / ".partial";
  const fs::path folder = place / flat_name(name);
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return std::unexpected(io_error(folder, "cannot be made", error).error());
  const std::string lock_name = folder.string() + ".lock";
  // Children inherit the lock: one that outlives us keeps the next process waiting.
  const int lock = ::open(lock_name.c_str(), O_RDWR | O_CREAT, 0644);
  if (lock < 0) return fail(ErrorCode::kIo, lock_name, "cannot be opened");
  if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
    if (waiting != nullptr) waiting();
    while (flock(lock, LOCK_EX) != 0) {
      if (errno == EINTR) continue;
      ::close(lock);
      return fail(ErrorCode::kIo, lock_name, "cannot be locked");
    }
    fs::create_directories(folder, error);
  }
  return Stage(folder, model_folder(root, name), lock);
}

Stage::Stage(Stage&& other) noexcept
    : folder_(std::move(other.folder_)), target_(std::move(other.target_)), lock_(std::exchange(other.lock_, -1)) {}

Stage::~Stage() {
  if (lock_ >= 0) ::close(lock_);
}

Status Stage::clear() const {
  std::error_code error;
  fs::remove_all(folder_, error);
  if (!error) fs::create_directories(folder_, error);
  return error ? io_error(folder_, "cannot be cleared", error) : Status{};
}

Status Stage::publish(const Manifest& manifest) const {
  std::error_code error;
  fs::create_directories(target_.parent_path(), error);
  if (!fs::exists(target_, error)) {
    LAMINA_CHECK_OK(write_manifest(folder_, manifest));
    fs::rename(folder_, target_, error);
    return error ? io_error(target_, "cannot be moved into place", error) : Status{};
  }
  Manifest merged = manifest;
  for (const StoredFile& old : read_manifest(target_).files) {
    const auto same = [&](const StoredFile& file) { return file.name == old.name; };
    if (std::none_of(merged.files.begin(), merged.files.end(), same)) merged.files.push_back(old);
  }
  for (const StoredFile& file : manifest.files) {
    if (!fs::exists(folder_ / file.name, error)) continue;
    fs::create_directories((target_ / file.name).parent_path(), error);
    fs::rename(folder_ / file.name, target_ / file.name, error);
    if (error) return io_error(target_ / file.name, "cannot be moved into place", error);
  }
  LAMINA_CHECK_OK(write_manifest(target_, merged));
  fs::remove_all(folder_, error);
  return {};
}

Status check_space(const fs::path& folder, int64_t bytes) {
  std::error_code error;
  const auto space = fs::space(folder, error);
  if (error || space.available >= static_cast<uintmax_t>(bytes)) return {};
  return fail(ErrorCode::kLimit, folder.string(), "{} are needed, {} are free", size_text(bytes),
              size_text(static_cast<int64_t>(space.available)));
}

std::string size_text(int64_t bytes) {
  const auto count = static_cast<double>(bytes);
  if (bytes >= 1'000'000'000) return fmt::format("{:.2f} GB", count / 1e9);
  if (bytes >= 1'000'000) return fmt::format("{:.1f} MB", count / 1e6);
  if (bytes >= 1'000) return fmt::format("{:.1f} kB", count / 1e3);
  return fmt::format("{} bytes", bytes);
}

}  // namespace lamina::app
