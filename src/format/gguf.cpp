#include "format/gguf.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "format/checked.h"
#include "format/gguf_parser.h"
#include "format/mapped_files.h"

namespace lamina::format {

using core::Error;
using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

namespace {

struct TypeInfo {
  std::string_view name;
  size_t size;
};

constexpr std::array<TypeInfo, 13> kTypes{{{"uint8", 1},
                                           {"int8", 1},
                                           {"uint16", 2},
                                           {"int16", 2},
                                           {"uint32", 4},
                                           {"int32", 4},
                                           {"float32", 4},
                                           {"bool", 1},
                                           {"string", 0},
                                           {"array", 0},
                                           {"uint64", 8},
                                           {"int64", 8},
                                           {"float64", 8}}};

template <typename T>
T load(std::span<const std::byte> bytes, size_t index) {
  T value;
  std::memcpy(&value, bytes.data() + index * sizeof(T), sizeof(T));
  return value;
}

/// Name of part `index` (from 0) of a split file whose first part is `first`; empty when `first` is not named as one.
std::string part_name(const std::string& first, int index, int count) {
  const std::string suffix = fmt::format("-00001-of-{:05}.gguf", count);
  if (!first.ends_with(suffix)) return {};
  return fmt::format("{}-{:05}-of-{:05}.gguf", first.substr(0, first.size() - suffix.size()), index + 1, count);
}

}  // namespace

std::string_view type_name(GgufType type) {
  const auto index = static_cast<size_t>(type);
  return index < kTypes.size() ? kTypes[index].name : "unknown";
}

size_t type_size(GgufType type) {
  const auto index = static_cast<size_t>(type);
  return index < kTypes.size() ? kTypes[index].size : 0;
}

std::string GgufValue::describe() const {
  if (!is_array()) return std::string(type_name(type_));
  return fmt::format("array of {} {}", count_, type_name(element_type_));
}

std::optional<int64_t> GgufValue::signed_at(size_t index) const {
  switch (number_type()) {
    case GgufType::kInt8:
      return load<int8_t>(bytes_, index);
    case GgufType::kInt16:
      return load<int16_t>(bytes_, index);
    case GgufType::kInt32:
      return load<int32_t>(bytes_, index);
    case GgufType::kInt64:
      return load<int64_t>(bytes_, index);
    default:
      break;
  }
  const auto value = unsigned_at(index);
  return value && std::in_range<int64_t>(*value) ? std::optional(static_cast<int64_t>(*value)) : std::nullopt;
}

std::optional<uint64_t> GgufValue::unsigned_at(size_t index) const {
  switch (number_type()) {
    case GgufType::kUint8:
      return load<uint8_t>(bytes_, index);
    case GgufType::kUint16:
      return load<uint16_t>(bytes_, index);
    case GgufType::kUint32:
      return load<uint32_t>(bytes_, index);
    case GgufType::kUint64:
      return load<uint64_t>(bytes_, index);
    case GgufType::kInt8:
    case GgufType::kInt16:
    case GgufType::kInt32:
    case GgufType::kInt64: {
      const int64_t value = *signed_at(index);
      return value >= 0 ? std::optional(static_cast<uint64_t>(value)) : std::nullopt;
    }
    default:
      return std::nullopt;
  }
}

std::optional<double> GgufValue::real_at(size_t index) const {
  if (number_type() == GgufType::kFloat32) return load<float>(bytes_, index);
  if (number_type() == GgufType::kFloat64) return load<double>(bytes_, index);
  if (const auto value = signed_at(index)) return static_cast<double>(*value);
  if (const auto value = unsigned_at(index)) return static_cast<double>(*value);
  return std::nullopt;
}

std::optional<bool> GgufValue::bool_at(size_t index) const {
  if (number_type() != GgufType::kBool) return std::nullopt;
  return load<uint8_t>(bytes_, index) != 0;
}

std::optional<std::vector<std::string_view>> GgufValue::string_elements() const {
  if (!is_array() || element_type_ != GgufType::kString) return std::nullopt;
  std::vector<std::string_view> strings;
  strings.reserve(static_cast<size_t>(count_));
  ByteReader reader(bytes_);
  for (uint64_t i = 0; i < count_; ++i) {
    uint64_t length = 0;
    std::span<const std::byte> text;
    if (!reader.read(length) || !reader.take(length, text)) return std::nullopt;
    strings.emplace_back(reinterpret_cast<const char*>(text.data()), text.size());
  }
  return strings;
}

std::optional<std::vector<GgufValue>> GgufValue::array_elements() const {
  if (!is_array() || element_type_ != GgufType::kArray) return std::nullopt;
  std::vector<GgufValue> arrays;
  arrays.reserve(static_cast<size_t>(count_));
  ByteReader reader(bytes_);
  for (uint64_t i = 0; i < count_; ++i) {
    auto element = read_gguf_value(reader, GgufType::kArray, "array");
    if (!element) return std::nullopt;
    arrays.push_back(*element);
  }
  return arrays;
}

const GgufValue* Gguf::find(std::string_view key) const {
  const auto found = keys_.find(key);
  return found == keys_.end() ? nullptr : &metadata_[found->second].value;
}

const core::TensorView* Gguf::find_tensor(std::string_view name) const {
  const auto found = names_.find(name);
  return found == names_.end() ? nullptr : &tensors_[found->second].view;
}

Error Gguf::missing(std::string_view key) const {
  return {ErrorCode::kNotFound, place_, fmt::format("metadata key {} is missing", excerpt(key))};
}

Error Gguf::mistyped(std::string_view key, const GgufValue& value, std::string_view wanted) const {
  return {ErrorCode::kInvalid, place_,
          fmt::format("metadata key {}: {} expected, the file has {}{}", excerpt(key), wanted, value.describe(),
                      value.is_array() || value.type() == GgufType::kString ? "" : " (or its value does not fit)")};
}

int64_t Gguf::file_bytes() const {
  return bytes_;
}

void Gguf::release(const core::TensorView& tensor) const {
  release_pages(files_, tensor);
}

Status Gguf::add_part(std::span<const std::byte> bytes, const std::string& place, int part, int parts) {
  GgufParser parser(bytes, place);
  LAMINA_CHECK_OK(parser.parse());
  if (part > 0) LAMINA_CHECK_OK(parser.check_part(part, parts));
  for (const NamedTensor& tensor : parser.tensors) {
    if (!names_.emplace(tensor.name, tensors_.size()).second) {
      return fail(ErrorCode::kCorrupt, place, "tensor {} appears twice", excerpt(tensor.name));
    }
    tensors_.push_back(tensor);
  }
  bytes_ += static_cast<int64_t>(bytes.size());
  if (part > 0) return {};
  metadata_ = std::move(parser.metadata);
  keys_ = std::move(parser.keys);
  version_ = parser.version;
  alignment_ = parser.alignment;
  place_ = place;
  return {};
}

Status Gguf::open_other_parts(const std::filesystem::path& first) {
  LAMINA_ASSIGN(const auto count, get_or<uint16_t>("split.count", 1));
  LAMINA_ASSIGN(const auto number, get_or<uint16_t>("split.no", 0));
  if (count <= 1) return {};
  const std::string name = first.filename().string();
  if (number != 0 || part_name(name, 0, count).empty()) {
    return fail(ErrorCode::kInvalid, place_,
                "is part {} of {}; open the first one, whose name ends in -00001-of-{:05}.gguf", number + 1, count,
                count);
  }
  std::string missing_parts;
  for (int i = 1; i < count; ++i) {
    const std::string part = part_name(name, i, count);
    std::error_code ignored;
    if (std::filesystem::exists(first.parent_path() / part, ignored)) continue;
    if (missing_parts.size() > 1000) {
      missing_parts += ", ...";
      break;
    }
    missing_parts += (missing_parts.empty() ? "" : ", ") + part;
  }
  if (!missing_parts.empty()) {
    return fail(ErrorCode::kNotFound, place_, "has {} parts; missing beside it: {}", count, missing_parts);
  }
  for (int i = 1; i < count; ++i) {
    const std::filesystem::path path = first.parent_path() / part_name(name, i, count);
    LAMINA_ASSIGN(core::MappedFile file, core::MappedFile::open(path));
    LAMINA_CHECK_OK(add_part(file.bytes(), path.string(), i, count));
    files_.push_back(std::move(file));
  }
  LAMINA_ASSIGN(const auto total, get_or<int64_t>("split.tensors.count", static_cast<int64_t>(tensors_.size())));
  if (total != static_cast<int64_t>(tensors_.size())) {
    return fail(ErrorCode::kCorrupt, place_, "split.tensors.count is {}, but its parts hold {} tensors", total,
                tensors_.size());
  }
  return {};
}

Result<Gguf> Gguf::open(const std::filesystem::path& path) {
  Gguf gguf;
  LAMINA_ASSIGN(core::MappedFile file, core::MappedFile::open(path));
  LAMINA_CHECK_OK(gguf.add_part(file.bytes(), path.string(), 0, 1));
  gguf.files_.push_back(std::move(file));
  LAMINA_CHECK_OK(gguf.open_other_parts(path));
  return gguf;
}

Result<Gguf> Gguf::from_bytes(std::span<const std::byte> bytes, std::string_view place) {
  Gguf gguf;
  LAMINA_CHECK_OK(gguf.add_part(bytes, std::string(place), 0, 1));
  LAMINA_ASSIGN(const auto count, gguf.get_or<uint16_t>("split.count", 1));
  if (count > 1) {
    return fail(ErrorCode::kUnsupported, place, "is one of {} parts; split files are opened by path", count);
  }
  return gguf;
}

}  // namespace lamina::format
