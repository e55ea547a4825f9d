#include "format/model_files.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <vector>

#include "codec/codec.h"
#include "core/checksum.h"
#include "format/checked.h"
#include "format/mapped_files.h"
#include "format/python_json.h"

namespace lamina::format {

namespace fs = std::filesystem;
using core::ErrorCode;
using core::fail;
using core::Result;
using nlohmann::json;

namespace {

constexpr uint64_t kMaxTextBytes = uint64_t{256} << 20;
constexpr uint64_t kMaxConfigArray = 4096;

/// The whole file as text, or nothing when it does not exist.
Result<std::optional<std::string>> read_text_file(const fs::path& path) {
  auto file = core::MappedFile::open(path);
  if (!file) {
    if (file.error().code == ErrorCode::kNotFound) return std::nullopt;
    return std::unexpected(std::move(file).error());
  }
  const auto bytes = file->bytes();
  if (bytes.size() > kMaxTextBytes) {
    return fail(ErrorCode::kLimit, path.string(), "has {} bytes; at most {} are read", bytes.size(), kMaxTextBytes);
  }
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

json number_to_json(const GgufValue& value) {
  if (value.type() == GgufType::kBool) return *value.as<bool>();
  if (value.type() == GgufType::kFloat32 || value.type() == GgufType::kFloat64) return *value.as<double>();
  if (const auto unsigned_value = value.as<uint64_t>()) return *unsigned_value;
  return *value.as<int64_t>();
}

/// Every scalar and short number array of the metadata, as one flat object.
json flat_config(const Gguf& gguf) {
  json config = json::object();
  for (const auto& [key, value] : gguf.metadata()) {
    if (value.type() == GgufType::kString) {
      config[std::string(key)] = repaired_utf8(*value.as<std::string_view>());
    } else if (!value.is_array()) {
      config[std::string(key)] = number_to_json(value);
    } else if (const size_t size = type_size(value.element_type()); size != 0 && value.size() <= kMaxConfigArray) {
      json& numbers = config[std::string(key)] = json::array();
      for (size_t i = 0; i < value.size(); ++i) {
        numbers.push_back(number_to_json(
            GgufValue(value.element_type(), value.element_type(), 1, value.bytes().subspan(i * size, size))));
      }
    }
  }
  return config;
}

/// Names of the folder's files with that ending, sorted; of a split GGUF only the first part counts.
std::vector<std::string> files_ending_in(const fs::path& folder, std::string_view ending) {
  std::vector<std::string> names;
  std::error_code ignored;
  for (fs::directory_iterator at(folder, ignored), end; !ignored && at != end; at.increment(ignored)) {
    const std::string name = at->path().filename().string();
    if (!name.ends_with(ending)) continue;
    const size_t split = name.rfind("-of-");
    const bool later_part = split != std::string::npos && split >= 6 && name[split - 6] == '-' &&
                            name.substr(split - 5, 5) != "00001" && ending == ".gguf" &&
                            name.find_first_not_of("0123456789", split - 5) == split;
    if (!later_part) names.push_back(name);
  }
  std::ranges::sort(names);
  return names;
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return excerpt(text, 400);
}

/// The file of a Hugging Face folder that holds the weights or their index.
Result<fs::path> weights_of(const fs::path& folder) {
  std::error_code ignored;
  for (const char* name : {"model.safetensors", "model.safetensors.index.json"}) {
    if (fs::exists(folder / name, ignored)) return folder / name;
  }
  const auto files = files_ending_in(folder, ".safetensors");
  if (files.size() == 1) return folder / files[0];
  if (files.empty()) {
    for (const char* ending : {".bin", ".pt", ".pth", ".ckpt"}) {
      const auto pickles = files_ending_in(folder, ending);
      if (pickles.empty()) continue;
      return fail(ErrorCode::kUnsupported, folder.string(),
                  "has its weights in {}, a pickle, which can run any program when it is read; load it where you trust "
                  "it and save it as model.safetensors (save_pretrained does)",
                  joined(pickles));
    }
    return fail(ErrorCode::kNotFound, folder.string(), "has config.json, but no .safetensors file");
  }
  return fail(ErrorCode::kInvalid, folder.string(),
              "has several .safetensors files and no model.safetensors.index.json: {}", joined(files));
}

}  // namespace

Result<ModelFiles> ModelFiles::open_gguf(const fs::path& file) {
  ModelFiles files;
  LAMINA_ASSIGN(Gguf gguf, Gguf::open(file));
  files.gguf_ = std::make_shared<const Gguf>(std::move(gguf));
  files.path_ = file;
  files.config_ = flat_config(*files.gguf_);
  return files;
}

Result<ModelFiles> ModelFiles::open_folder(const fs::path& folder) {
  LAMINA_ASSIGN(const auto config, read_text_file(folder / "config.json"));
  const auto ggufs = files_ending_in(folder, ".gguf");
  if (ggufs.size() == 1 && (!config || files_ending_in(folder, ".safetensors").empty())) {
    return open_gguf(folder / ggufs[0]);
  }
  if (!config) {
    if (ggufs.empty()) {
      return fail(ErrorCode::kNotFound, folder.string(), "holds no model: neither config.json nor a .gguf file");
    }
    return fail(ErrorCode::kInvalid, folder.string(), "holds several models, name one: {}", joined(ggufs));
  }
  ModelFiles files;
  LAMINA_ASSIGN(files.config_, parse_python_json(*config, (folder / "config.json").string()));
  if (!files.config_.is_object()) {
    return fail(ErrorCode::kCorrupt, (folder / "config.json").string(), "must be a JSON object");
  }
  LAMINA_ASSIGN(const fs::path weights, weights_of(folder));
  LAMINA_ASSIGN(Safetensors safetensors, Safetensors::open(weights));
  files.safetensors_ = std::make_shared<const Safetensors>(std::move(safetensors));
  files.path_ = folder;
  return files;
}

Result<ModelFiles> ModelFiles::open(const fs::path& path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) return open_folder(path);
  if (path.extension() == ".safetensors") {
    return fail(ErrorCode::kInvalid, path.string(), "is only the weights; name the folder that also has config.json");
  }
  return open_gguf(path);
}

/// An overlay and where its names stand.
struct ModelFiles::Changed {
  Overlay overlay;
  std::vector<NamedTensor> list{};
  std::map<std::string_view, const core::TensorView*> by_name{};
};

ModelFiles ModelFiles::overlaid(const ModelFiles& files, Overlay overlay) {
  ModelFiles out = files;
  out.config_ = std::move(overlay.config);
  auto changed = std::make_shared<Changed>();
  changed->overlay = std::move(overlay);
  for (const auto& [name, view] : changed->overlay.tensors) {
    changed->list.push_back({name, view});
    changed->by_name.emplace(name, &view);
  }
  out.changed_ = std::move(changed);
  return out;
}

const core::TensorView* ModelFiles::find(std::string_view name) const {
  if (changed_) {
    const auto found = changed_->by_name.find(name);
    return found == changed_->by_name.end() ? nullptr : found->second;
  }
  return gguf_ ? gguf_->find_tensor(name) : safetensors_->find_tensor(name);
}

Result<core::TensorView> ModelFiles::weight(std::string_view name) const {
  const core::TensorView* view = find(name);
  if (view == nullptr) return fail(ErrorCode::kNotFound, path_.string(), "tensor {} is missing", name);
  if (codec::codec_of(*view->format) == nullptr) {
    return fail(ErrorCode::kUnsupported, path_.string(), "tensor {} is stored as {}, which no codec decodes", name,
                view->format->name);
  }
  return *view;
}

std::span<const NamedTensor> ModelFiles::tensors() const {
  if (changed_) return changed_->list;
  return gguf_ ? gguf_->tensors() : safetensors_->tensors();
}

int64_t ModelFiles::file_bytes() const {
  return gguf_ ? gguf_->file_bytes() : safetensors_->file_bytes();
}

std::span<const core::MappedFile> ModelFiles::tensor_files() const {
  return gguf_ ? gguf_->files() : safetensors_->files();
}

int64_t ModelFiles::place_of(const core::TensorView& tensor) const {
  int64_t before = 0;
  for (const core::MappedFile& file : tensor_files()) {
    if (holds(file, tensor)) return before + (tensor.data - file.bytes().data());
    before += static_cast<int64_t>(file.bytes().size());
  }
  return before;
}

void ModelFiles::prefetch(const core::TensorView& tensor) const {
  for (const core::MappedFile& file : tensor_files()) {
    if (holds(file, tensor)) file.prefetch(tensor.data, static_cast<size_t>(tensor.bytes()));
  }
}

std::string ModelFiles::stamp() const {
  constexpr size_t kHeader = size_t{1} << 20;
  std::string text;
  for (const core::MappedFile& file : tensor_files()) {
    const auto header = file.bytes().first(std::min(kHeader, file.bytes().size()));
    std::error_code ignored;
    text += fmt::format("{}{}: {} bytes, changed at {}, header {:016x}", text.empty() ? "" : "; ",
                        fs::absolute(file.path(), ignored).string(), file.bytes().size(), file.modified(),
                        core::checksum(header));
  }
  return text;
}

uint64_t ModelFiles::checksum() const {
  std::vector<uint64_t> sums;
  for (const core::MappedFile& file : tensor_files()) sums.push_back(core::checksum(file.bytes()));
  return core::checksum(std::as_bytes(std::span(sums)));
}

void ModelFiles::release(const core::TensorView& tensor) const {
  if (gguf_) {
    gguf_->release(tensor);
  } else {
    safetensors_->release(tensor);
  }
}

Result<std::optional<std::string>> ModelFiles::read_text(std::string_view file_name) const {
  if (gguf_) return std::nullopt;
  const fs::path name(file_name);
  if (name.empty() || name.filename() != name || name == "." || name == ".." || file_name.contains('\0')) {
    return fail(ErrorCode::kInvalid, path_.string(), "{} is not a plain file name", excerpt(file_name));
  }
  return read_text_file(path_ / name);
}

}  // namespace lamina::format
