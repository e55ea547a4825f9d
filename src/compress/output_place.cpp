#include "compress/output_place.h"

#include <unistd.h>

#include <algorithm>

namespace lamina::compress {

namespace fs = std::filesystem;
using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

namespace {

/// Parts of a split file of that name that lie in its folder.
std::vector<fs::path> parts_of(const fs::path& out) {
  std::vector<fs::path> found;
  const std::string stem = out.stem().string() + "-";
  std::error_code ignored;
  const fs::path folder = out.has_parent_path() ? out.parent_path() : ".";
  for (fs::directory_iterator at(folder, ignored), end; !ignored && at != end; at.increment(ignored)) {
    const std::string name = at->path().filename().string();
    if (!name.starts_with(stem) || !name.ends_with(".gguf")) continue;
    const std::string rest = name.substr(stem.size(), name.size() - stem.size() - 5);
    const bool part = rest.size() == 14 && rest.substr(5, 4) == "-of-" && rest.find_first_not_of("0123456789") == 5 &&
                      rest.find_first_not_of("0123456789", 9) == rest.npos;
    if (part) found.push_back(at->path());
  }
  return found;
}

bool lies_inside(const fs::path& inner, const fs::path& outer) {
  const auto [end, rest] = std::ranges::mismatch(outer, inner);
  return end == outer.end() || end->empty();
}

Status check_out(const fs::path& out, const fs::path& source, bool force) {
  const std::string place = out.string();
  std::error_code code;
  const fs::path real_out = fs::weakly_canonical(out, code);
  const fs::path real_source = fs::weakly_canonical(source, code);
  if (real_out == real_source) return fail(ErrorCode::kInvalid, place, "is the model itself; another name expected");
  if (fs::is_directory(real_source, code) && lies_inside(real_out, real_source))
    return fail(ErrorCode::kInvalid, place, "lies inside the model's folder; a place outside of it expected");
  if (fs::is_directory(real_out, code) && lies_inside(real_source, real_out))
    return fail(ErrorCode::kInvalid, place, "holds the model that is read; another name expected");
  if (out.extension() == ".safetensors")
    return fail(ErrorCode::kInvalid, place, "names one file of weights; a .gguf file or a folder expected");
  const bool gguf = out.extension() == ".gguf";
  const bool exists = fs::exists(fs::symlink_status(out, code));
  const std::vector<fs::path> parts = gguf ? parts_of(out) : std::vector<fs::path>();
  const bool own = std::ranges::any_of(parts, [&](const fs::path& part) { return fs::equivalent(part, source, code); });
  if (own)
    return fail(ErrorCode::kInvalid, place, "would replace the parts of the model that is read; another name expected");
  if ((exists || !parts.empty()) && !force) return fail(ErrorCode::kInvalid, place, "exists; --force would replace it");
  if (!exists) return {};
  if (gguf == fs::is_directory(out, code))
    return fail(ErrorCode::kInvalid, place, "is {}; another name expected", gguf ? "a folder" : "a file");
  if (!gguf && !fs::is_empty(out, code) && !fs::exists(out / "config.json", code))
    return fail(ErrorCode::kInvalid, place, "is a folder without a model, which --force does not replace");
  return {};
}

}  // namespace

Result<OutputPlace> OutputPlace::open(const fs::path& out, const fs::path& source, bool force) {
  fs::path target = out;
  if (target.filename().empty()) target = target.parent_path();  // "folder/"
  if (target.empty() || target == "." || target == "..")
    return fail(ErrorCode::kInvalid, "-o", "\"{}\" names no file or folder", out.string());
  LAMINA_CHECK_OK(check_out(target, source, force));
  OutputPlace place;
  place.out_ = target;
  place.container_ = target.extension() == ".gguf" ? format::Container::kGguf : format::Container::kHuggingFace;
  fs::path folder = target;
  folder += fmt::format(".{}.tmp", getpid());
  std::error_code code;
  if (!fs::create_directory(folder, code)) {
    return fail(ErrorCode::kIo, folder.string(), "cannot be made: {}", code ? code.message() : "it exists");
  }
  place.folder_ = folder;
  return place;
}

OutputPlace::~OutputPlace() {
  if (folder_.empty()) return;
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

Result<std::vector<std::string>> OutputPlace::publish() {
  std::error_code code;
  const auto failed = [&](const fs::path& path) {
    return fail(ErrorCode::kIo, path.string(), "cannot be given its name: {}", code.message());
  };
  if (container_ == format::Container::kHuggingFace) {
    fs::path old;
    if (fs::exists(out_, code)) {
      old = folder_;
      old += ".old";
      fs::rename(out_, old, code);
      if (code) return failed(out_);
    }
    fs::rename(folder_, out_, code);
    if (code) {
      std::error_code ignored;
      if (!old.empty()) fs::rename(old, out_, ignored);
      return failed(out_);
    }
    folder_.clear();
    if (!old.empty()) fs::remove_all(old, code);
    return std::vector{out_.string()};
  }
  // Parts of an earlier split file of that name must not lie beside the new one.
  const std::vector<fs::path> earlier = parts_of(out_);
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder_, code)) names.push_back(entry.path().filename().string());
  std::ranges::sort(names);
  std::vector<std::string> paths;
  for (const std::string& name : names) {
    const fs::path to = out_.parent_path() / name;
    fs::rename(folder_ / name, to, code);
    if (code) return failed(to);
    paths.push_back(to.string());
  }
  for (const fs::path& part : earlier) {
    if (std::ranges::find(names, part.filename().string()) == names.end()) fs::remove(part, code);
  }
  if (std::ranges::find(names, file_name()) == names.end()) fs::remove(out_, code);
  return paths;
}

}  // namespace lamina::compress
