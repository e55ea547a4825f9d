#include "format/gguf_writer.h"

#include <algorithm>
#include <bit>

#include "format/checked.h"
#include "format/gguf_types.h"

namespace lamina::format {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

namespace {

constexpr uint32_t kVersion = 3;
constexpr uint32_t kDefaultAlignment = 32;
constexpr size_t kMaxParts = 65535;

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

std::string GgufWriter::header(std::span<const Value> values, std::span<const PendingTensor> tensors) const {
  std::string out = "GGUF";
  const bool states_alignment = alignment_ != kDefaultAlignment;
  detail::append_number(out, kVersion);
  detail::append_number(out, uint64_t{tensors.size()});
  detail::append_number(out, uint64_t{values.size() + (states_alignment ? 1 : 0)});
  const auto append_value = [&](std::string_view key, GgufType type, std::string_view payload) {
    detail::append_text(out, key);
    detail::append_number(out, static_cast<uint32_t>(type));
    out += payload;
  };
  for (const Value& value : values) append_value(value.key, value.type, value.payload);
  if (states_alignment) {
    std::string payload;
    detail::append_number(payload, alignment_);
    append_value("general.alignment", GgufType::kUint32, payload);
  }
  uint64_t offset = 0;
  for (const PendingTensor& tensor : tensors) {
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

Status GgufWriter::check() const {
  if (alignment_ < 8 || !std::has_single_bit(alignment_)) {
    return fail(ErrorCode::kInvalid, "GGUF", "alignment {}: a power of two from 8 on expected", alignment_);
  }
  for (const Value& value : values_) {
    const bool good = !value.key.empty() && value.key.size() <= 65535 && is_clean_utf8(value.key, false);
    if (!good || value.key == "general.alignment") {
      return fail(ErrorCode::kInvalid, "GGUF", "metadata key \"{}\" cannot be set", excerpt(value.key));
    }
  }
  return {};
}

Status GgufWriter::write_file(const std::filesystem::path& path, std::span<const Value> values,
                              std::span<const PendingTensor> tensors) const {
  LAMINA_ASSIGN(OutputFile file, OutputFile::create(path));
  LAMINA_CHECK_OK(file.write(header(values, tensors)));
  LAMINA_CHECK_OK(file.pad(alignment_));
  for (const PendingTensor& tensor : tensors) {
    LAMINA_CHECK_OK(write_pending(file, tensor));
    LAMINA_CHECK_OK(file.pad(alignment_));
  }
  return file.commit();
}

Status GgufWriter::write(const std::filesystem::path& path) const {
  LAMINA_CHECK_OK(check());
  return write_file(path, values_, tensors_);
}

Result<std::vector<std::filesystem::path>> GgufWriter::write_parts(const std::filesystem::path& path,
                                                                   int64_t max_bytes) const {
  LAMINA_CHECK_OK(check());
  const auto ends = split_by_bytes(tensors_, max_bytes);
  if (ends.size() <= 1) {
    LAMINA_CHECK_OK(write_file(path, values_, tensors_));
    return std::vector{path};
  }
  if (ends.size() > kMaxParts) {
    return fail(ErrorCode::kLimit, path.string(), "would have {} parts; at most {}, with more bytes each, expected",
                ends.size(), kMaxParts);
  }
  std::vector<std::filesystem::path> paths;
  const std::string stem = path.filename().string().substr(0, path.filename().string().rfind(".gguf"));
  for (size_t i = 0, begin = 0; i < ends.size(); begin = ends[i++]) {
    GgufWriter keys(alignment_);
    if (i == 0) keys.values_ = values_;
    keys.set("split.no", static_cast<uint16_t>(i));
    keys.set("split.count", static_cast<uint16_t>(ends.size()));
    keys.set("split.tensors.count", static_cast<int32_t>(tensors_.size()));
    paths.push_back(path.parent_path() / fmt::format("{}-{:05}-of-{:05}.gguf", stem, i + 1, ends.size()));
    LAMINA_CHECK_OK(write_file(paths.back(), keys.values_, std::span(tensors_).subspan(begin, ends[i] - begin)));
  }
  return paths;
}

}  // namespace lamina::format
