#include "format/safetensors_writer.h"

#include <nlohmann/json.hpp>

#include "format/checked.h"
#include "format/safetensors_types.h"

namespace lamina::format {

using core::ErrorCode;
using core::fail;
using core::Status;

void SafetensorsWriter::set_metadata(std::string_view key, std::string_view value) {
  metadata_[repaired_utf8(key)] = repaired_utf8(value);
}

Status SafetensorsWriter::add_tensor(std::string_view name, const core::TensorView& tensor) {
  return add_tensor(name, tensor, borrow_data(tensor));
}

Status SafetensorsWriter::add_tensor(std::string_view name, const core::TensorView& shape, TensorSource source) {
  LAMINA_ASSIGN(PendingTensor pending, make_pending(name, shape, std::move(source)));
  if (safetensors_dtype(*shape.format).empty()) {
    return fail(ErrorCode::kUnsupported, name, "safetensors has no dtype for {}", shape.format->name);
  }
  if (name == "__metadata__" || !names_.insert(pending.name).second) {
    return fail(ErrorCode::kInvalid, name, "the name is reserved or was added before");
  }
  tensors_.push_back(std::move(pending));
  return {};
}

Status SafetensorsWriter::write(const std::filesystem::path& path) const {
  std::vector<const PendingTensor*> order;
  for (const int64_t width : {8, 4, 2, 1}) {
    for (const PendingTensor& tensor : tensors_) {
      if (tensor.shape.format->block_bytes == width) order.push_back(&tensor);
    }
  }
  nlohmann::ordered_json root = nlohmann::ordered_json::object();
  if (!metadata_.empty()) root["__metadata__"] = metadata_;
  int64_t offset = 0;
  for (const PendingTensor* tensor : order) {
    const auto* sizes = tensor->shape.shape.data();
    const int64_t end = offset + tensor->shape.bytes();
    root[tensor->name] = {{"dtype", safetensors_dtype(*tensor->shape.format)},
                          {"shape", std::vector<int64_t>(sizes, sizes + tensor->shape.rank)},
                          {"data_offsets", {offset, end}}};
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

}  // namespace lamina::format
