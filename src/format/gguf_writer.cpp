#include "format/gguf_writer.h"

#include <algorithm>
#include <bit>

#include "format/checked.h"
#include "format/gguf_types.h"

namespace lamina::format {

using core::ErrorCode;
using core::fail;
using core::Status;

namespace {

constexpr uint32_t kVersion = 3;
constexpr uint32_t kDefaultAlignment = 32;

uint64_t aligned(uint64_t size, uint64_t alignment) {
  return (size + alignment - 1) / alignment * alignment;
}

}  // namespace

void GgufWriter::set_payload(std::string_view key, GgufType type, std::string payload) {
  const auto found = std::ranges::find(values_, key, &Value::key);
  if (found == values_.end()) {
    values_.push_back({std::string(key), type, std::move(payload)});
  } else {
    *found = {std::string(key), type, std::move(payload)};
  }
}

void GgufWriter::set(std::string_view key, const GgufValue& value) {
  const std::string_view bytes(reinterpret_cast<const char*>(value.bytes().data()), value.bytes().size());
  std::string payload;
  if (value.type() == GgufType::kString) detail::append_number(payload, uint64_t{bytes.size()});
  if (value.is_array()) {
    detail::append_number(payload, static_cast<uint32_t>(value.element_type()));
    detail::append_number(payload, value.size());
  }
  payload += bytes;
  set_payload(key, value.type(), std::move(payload));
}

void GgufWriter::erase(std::string_view key) {
  std::erase_if(values_, [&](const Value& value) { return value.key == key; });
}

void GgufWriter::copy_metadata(const Gguf& gguf) {
  for (const auto& [key, value] : gguf.metadata()) {
    if (!key.starts_with("split.") && key != "general.alignment") set(key, value);
  }
}

Status GgufWriter::add_tensor(std::string_view name, const core::TensorView& tensor) {
  return add_tensor(name, tensor, borrow_data(tensor));
}

Status GgufWriter::add_tensor(std::string_view name, const core::TensorView& shape, TensorSource source) {
  LAMINA_ASSIGN(PendingTensor pending, make_pending(name, shape, std::move(source)));
  if (gguf_type_of(*shape.format) < 0) {
    return fail(ErrorCode::kUnsupported, name, "GGUF has no type for {}", shape.format->name);
  }
  if (!names_.emplace(pending.name, tensors_.size()).second) {
    return fail(ErrorCode::kInvalid, name, "a tensor of that name was added before");
  }
  tensors_.push_back(std::move(pending));
  return {};
}

std::string GgufWriter::header() const {
  std::string out = "GGUF";
  const bool states_alignment = alignment_ != kDefaultAlignment;
  detail::append_number(out, kVersion);
  detail::append_number(out, uint64_t{tensors_.size()});
  detail::append_number(out, uint64_t{values_.size() + (states_alignment ? 1 : 0)});
  const auto append_value = [&](std::string_view key, GgufType type, std::string_view payload) {
    detail::append_text(out, key);
    detail::append_number(out, static_cast<uint32_t>(type));
    out += payload;
  };
  for (const Value& value : values_) append_value(value.key, value.type, value.payload);
  if (states_alignment) {
    std::string payload;
    detail::append_number(payload, alignment_);
    append_value("general.alignment", GgufType::kUint32, payload);
  }
  uint64_t offset = 0;
  for (const PendingTensor& tensor : tensors_) {
    detail::append_text(out, tensor.name);
    detail::append_number(out, static_cast<uint32_t>(tensor.shape.rank));
    for (int i = tensor.shape.rank; i-- > 0;) {
      detail::append_number(out, static_cast<uint64_t>(tensor.shape.shape[static_cast<size_t>(i)]));
    }
    detail::append_number(out, static_cast<uint32_t>(gguf_type_of(*tensor.shape.format)));
    detail::append_number(out, offset);
    offset += aligned(static_cast<uint64_t>(tensor.shape.bytes()), alignment_);
  }
  return out;
}

Status GgufWriter::write(const std::filesystem::path& path) const {
  if (alignment_ < 8 || !std::has_single_bit(alignment_)) {
    return fail(ErrorCode::kInvalid, path.string(), "alignment {}: a power of two from 8 on expected", alignment_);
  }
  for (const Value& value : values_) {
    const bool good = !value.key.empty() && value.key.size() <= 65535 && is_clean_utf8(value.key, false);
    if (!good || value.key == "general.alignment") {
      return fail(ErrorCode::kInvalid, path.string(), "metadata key \"{}\" cannot be set", excerpt(value.key));
    }
  }
  LAMINA_ASSIGN(OutputFile file, OutputFile::create(path));
  LAMINA_CHECK_OK(file.write(header()));
  LAMINA_CHECK_OK(file.pad(alignment_));
  for (const PendingTensor& tensor : tensors_) {
    LAMINA_CHECK_OK(write_pending(file, tensor));
    LAMINA_CHECK_OK(file.pad(alignment_));
  }
  return file.commit();
}

}  // namespace lamina::format
