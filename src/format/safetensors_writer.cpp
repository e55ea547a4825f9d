#include "format/safetensors_writer.h"

#include <nlohmann/json.hpp>

#include "codec/codec.h"
#include "format/checked.h"
#include "format/safetensors_types.h"

namespace lamina::format {

using core::ErrorCode;
using core::fail;
using core::Status;

namespace {

int64_t number_width(const core::NumberFormat& format) {
  return safetensors_dtype(format).empty() ? 1 : format.block_bytes;
}

std::vector<int64_t> shape_of(const core::TensorView& view) {
  return {view.shape.begin(), view.shape.begin() + view.rank};
}

/// What kBlocksKey holds for these tensors; empty when each has a dtype.
std::string describe_blocks(std::span<const PendingTensor> tensors) {
  nlohmann::ordered_json all = nlohmann::ordered_json::object();
  for (const PendingTensor& tensor : tensors) {
    if (!safetensors_dtype(*tensor.shape.format).empty()) continue;
    all[tensor.name] = {{"codec", tensor.shape.format->name}, {"shape", shape_of(tensor.shape)}};
  }
  return all.empty() ? "" : all.dump();
}

}  // namespace

void SafetensorsWriter::set_metadata(std::string_view key, std::string_view value) {
  metadata_[repaired_utf8(key)] = repaired_utf8(value);
}

Status SafetensorsWriter::add_tensor(std::string_view name, const core::TensorView& tensor) {
  return add_tensor(name, tensor, borrow_data(tensor));
}

Status SafetensorsWriter::add_tensor(std::string_view name, const core::TensorView& shape, TensorSource source) {
  LAMINA_ASSIGN(PendingTensor pending, make_pending(name, shape, std::move(source)));
  if (safetensors_dtype(*shape.format).empty() && codec::codec_of(*shape.format) == nullptr) {
    return fail(ErrorCode::kUnsupported, name, "safetensors has no dtype for {}", shape.format->name);
  }
  if (name == "__metadata__" || !names_.insert(pending.name).second) {
    return fail(ErrorCode::kInvalid, name, "the name is reserved or was added before");
  }
  tensors_.push_back(std::move(pending));
  return {};
}

Status SafetensorsWriter::write_file(const std::filesystem::path& path, std::span<const PendingTensor> tensors) const {
  std::vector<const PendingTensor*> order;
  for (const int64_t width : {8, 4, 2, 1}) {
    for (const PendingTensor& tensor : tensors) {
      if (number_width(*tensor.shape.format) == width) order.push_back(&tensor);
    }
  }
  nlohmann::ordered_json root = nlohmann::ordered_json::object();
  std::map<std::string, std::string> metadata = metadata_;
  const std::string blocks = describe_blocks(tensors);
  if (!blocks.empty()) metadata[std::string(kBlocksKey)] = blocks;
  if (!metadata.empty()) root["__metadata__"] = metadata;
  int64_t offset = 0;
  for (const PendingTensor* tensor : order) {
    const int64_t end = offset + tensor->shape.bytes();
    const std::string dtype = safetensors_dtype(*tensor->shape.format);
    std::vector<int64_t> sizes = shape_of(tensor->shape);
    if (dtype.empty()) sizes.back() = tensor->shape.row_bytes();
    root[tensor->name] = {{"dtype", dtype.empty() ? "U8" : dtype}, {"shape", sizes}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string header = root.dump();
  header.append((8 - header.size() % 8) % 8, ' ');
  const uint64_t header_bytes = header.size();
  LAMINA_ASSIGN(OutputFile file, OutputFile::create(path));
  LAMINA_CHECK_OK(file.write(std::as_bytes(std::span(&header_bytes, 1))));
  LAMINA_CHECK_OK(file.write(header));
  for (const PendingTensor* tensor : order) LAMINA_CHECK_OK(write_pending(file, *tensor));
  return file.commit();
}

Status SafetensorsWriter::write(const std::filesystem::path& path) const {
  return write_file(path, tensors_);
}

Status SafetensorsWriter::write_folder(const std::filesystem::path& folder, int64_t max_bytes) const {
  const auto ends = split_by_bytes(tensors_, max_bytes);
  if (ends.size() <= 1) return write_file(folder / "model.safetensors", tensors_);
  int64_t total = 0;
  nlohmann::ordered_json map = nlohmann::ordered_json::object();
  for (size_t i = 0, begin = 0; i < ends.size(); begin = ends[i++]) {
    const std::string name = fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, ends.size());
    const auto tensors = std::span(tensors_).subspan(begin, ends[i] - begin);
    LAMINA_CHECK_OK(write_file(folder / name, tensors));
    for (const PendingTensor& tensor : tensors) {
      map[tensor.name] = name;
      total += tensor.shape.bytes();
    }
  }
  const nlohmann::ordered_json index{{"metadata", {{"total_size", total}}}, {"weight_map", std::move(map)}};
  LAMINA_ASSIGN(OutputFile file, OutputFile::create(folder / "model.safetensors.index.json"));
  LAMINA_CHECK_OK(file.write(index.dump(2) + "\n"));
  return file.commit();
}

}  // namespace lamina::format
