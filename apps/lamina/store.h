#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace lamina::app {

/// $LAMINA_HOME, or ~/.cache/lamina. Models are folders below <root>/models.
std::filesystem::path store_root();

/// Folder of the model `name` ("smollm2-135m", "owner/name"), whether it is there or not.
std::filesystem::path model_folder(const std::filesystem::path& root, std::string_view name);

/// Names of the models in the store, sorted.
std::vector<std::string> stored_models(const std::filesystem::path& root = store_root());

/// What to load for MODEL: an existing path as it is; else the model of that name in the store: its .gguf file if it
/// has exactly one, else its folder. "owner/name:file.gguf" picks a file, ":safetensors" the folder. Errors: kNotFound
/// lists the store and the catalogue, kInvalid lists the .gguf files when there are several.
core::Result<std::filesystem::path> resolve_model(std::string_view model,
                                                  const std::filesystem::path& root = store_root());

/// kInvalid unless `name` is a relative path of plain parts: nothing absolute, empty, hidden, "..", or with
/// backslashes or control characters.
core::Status check_file_name(std::string_view name);

/// One file of a stored model, as it was when checked. `sha256` is empty if nobody told it.
struct StoredFile {
  std::string name;
  int64_t bytes = 0;
  std::string sha256;
  bool operator==(const StoredFile&) const = default;
};

/// What `pull` notes beside the files (.lamina.json): where they come from and that they were checked.
struct Manifest {
  std::string source;
  std::string licence;
  std::vector<StoredFile> files;
};

/// The manifest of a model's folder; empty if there is none or it cannot be read.
Manifest read_manifest(const std::filesystem::path& folder);

/// Writes the manifest of a folder at once.
core::Status write_manifest(const std::filesystem::path& folder, const Manifest& manifest);

/// Whether `folder` holds `file`: by the manifest and the size, or by hashing when the manifest does not name it.
bool has_file(const std::filesystem::path& folder, const Manifest& manifest, const StoredFile& file);

/// A folder beside the models where one process at a time prepares a model; waits while another process holds it.
class Stage {
 public:
  /// `waiting` is called once if the stage is held by another process.
  static core::Result<Stage> open(const std::filesystem::path& root, std::string_view name, void (*waiting)());
  Stage(Stage&& other) noexcept;
  Stage& operator=(Stage&&) = delete;
  ~Stage();

  const std::filesystem::path& folder() const { return folder_; }
  /// Removes what an earlier, interrupted run left.
  core::Status clear() const;
  /// Moves the named files into the model's folder, adds them to its manifest and removes the stage: by one rename if
  /// the model is new, else file by file.
  core::Status publish(const Manifest& manifest) const;

 private:
  Stage(std::filesystem::path folder, std::filesystem::path target, int lock)
      : folder_(std::move(folder)), target_(std::move(target)), lock_(lock) {}
  std::filesystem::path folder_;
  std::filesystem::path target_;
  int lock_ = -1;
};

/// kLimit if the file system of `folder` has less than `bytes` left.
core::Status check_space(const std::filesystem::path& folder, int64_t bytes);

/// "98.4 MB"
std::string size_text(int64_t bytes);

}  // namespace lamina::app
