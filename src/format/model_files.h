#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/result.h"
#include "core/tensor.h"
#include "format/gguf.h"
#include "format/named_tensor.h"
#include "format/safetensors.h"

namespace lamina::format {

enum class Container { kGguf, kHuggingFace };

/// What stands in the place of a model's own tensors and settings while it is changed.
struct Overlay {
  std::vector<std::pair<std::string, core::TensorView>> tensors{};  ///< all that the model is to have, in order
  nlohmann::json config{};
  std::shared_ptr<const void> memory{};  ///< keeps alive what tensors borrow beside the model's files
};

/// The files of one model: a GGUF file (or its parts), or a folder in the Hugging Face layout. Movable; what it hands
/// out stays valid when it is moved.
class ModelFiles {
 public:
  /// `path` is a .gguf file (of a split one, the first part), or a folder with config.json and *.safetensors, or a
  /// folder with exactly one GGUF model. Errors: kNotFound, kCorrupt, kUnsupported, kInvalid, kIo.
  static core::Result<ModelFiles> open(const std::filesystem::path& path);
  /// The same files with other tensors and settings; text files and all that is not in config() stay theirs.
  static ModelFiles overlaid(const ModelFiles& files, Overlay overlay);

  Container container() const { return gguf_ ? Container::kGguf : Container::kHuggingFace; }
  /// GGUF: one flat object, key to number, bool or string, and to arrays of at most 4096 numbers or bools; longer
  /// arrays, arrays of strings and arrays of arrays are left out (see gguf()). Malformed UTF-8 in strings shows as
  /// U+FFFD. Hugging Face: config.json as it is.
  const nlohmann::json& config() const { return config_; }
  /// Null for Hugging Face.
  const Gguf* gguf() const { return gguf_.get(); }
  /// What was opened: the GGUF file, or the folder.
  const std::filesystem::path& path() const { return path_; }

  /// The tensor of that name, or null. Its format may be one that no codec decodes (see NamedTensor); weight() refuses
  /// those.
  const core::TensorView* find(std::string_view name) const;
  /// The tensor of that name, fit to be decoded: kNotFound when absent, kUnsupported when no codec knows its format.
  core::Result<core::TensorView> weight(std::string_view name) const;
  /// All tensors in file order.
  std::span<const NamedTensor> tensors() const;
  /// Bytes of all tensor files together.
  int64_t file_bytes() const;
  /// The files that hold the tensors.
  std::span<const core::MappedFile> tensor_files() const;
  /// What tells the tensor files from others and from changed ones, without reading the whole: of each its path, size,
  /// time of change and the checksum of its first MiB, in one line.
  std::string stamp() const;
  /// Checksum of every byte of the tensor files.
  uint64_t checksum() const;
  /// Where the tensor begins, as bytes before it in all tensor files together.
  int64_t place_of(const core::TensorView& tensor) const;
  /// Tells the system that the tensor is about to be read: it starts to, and this returns.
  void prefetch(const core::TensorView& tensor) const;
  /// Tells the system that the tensor's pages are no longer needed in memory.
  void release(const core::TensorView& tensor) const;

  /// A text file of a Hugging Face folder, such as tokenizer.json or chat_template.jinja; nothing when it is absent,
  /// and always nothing for GGUF. kLimit above 256 MiB, kInvalid when `file_name` is not a plain name.
  core::Result<std::optional<std::string>> read_text(std::string_view file_name) const;

 private:
  ModelFiles() = default;
  static core::Result<ModelFiles> open_gguf(const std::filesystem::path& file);
  static core::Result<ModelFiles> open_folder(const std::filesystem::path& folder);

  std::filesystem::path path_;
  nlohmann::json config_;
  std::shared_ptr<const Gguf> gguf_;
  std::shared_ptr<const Safetensors> safetensors_;
  struct Changed;
  std::shared_ptr<const Changed> changed_;  ///< null: the tensors are those of the files
};

}  // namespace lamina::format
