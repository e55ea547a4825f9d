#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/memory.h"
#include "core/result.h"
#include "core/tensor.h"
#include "format/named_tensor.h"

namespace lamina::format {

/// Type numbers of GGUF metadata values.
enum class GgufType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

/// "uint32", "string", ...; "unknown" for other numbers.
std::string_view type_name(GgufType type);
/// Bytes of a number or bool of that type in the file, 0 for strings and arrays.
size_t type_size(GgufType type);

/// A metadata value, lying in the file; checked when the file was opened, decoded when asked for.
class GgufValue {
 public:
  GgufValue() = default;
  GgufValue(GgufType type, GgufType element_type, uint64_t count, std::span<const std::byte> bytes)
      : type_(type), element_type_(element_type), count_(count), bytes_(bytes) {}

  GgufType type() const { return type_; }
  bool is_array() const { return type_ == GgufType::kArray; }
  /// Type of an array's elements.
  GgufType element_type() const { return element_type_; }
  /// Number of an array's elements, 1 for other types.
  uint64_t size() const { return count_; }
  /// "uint32", "array of 3 string".
  std::string describe() const;
  /// The payload as it lies in the file: a number's bytes, a string's characters, an array's elements.
  std::span<const std::byte> bytes() const { return bytes_; }

  /// The value as T, or nothing when it is of another type. T is bool, an integer (any integer value that fits), float
  /// or double (any number), std::string_view, std::string, or a vector of one of these, or std::vector<GgufValue> for
  /// an array of arrays.
  template <typename T>
  std::optional<T> as() const;

 private:
  std::optional<int64_t> signed_at(size_t index) const;
  std::optional<uint64_t> unsigned_at(size_t index) const;
  std::optional<double> real_at(size_t index) const;
  std::optional<bool> bool_at(size_t index) const;
  std::optional<std::vector<std::string_view>> string_elements() const;
  std::optional<std::vector<GgufValue>> array_elements() const;
  GgufType number_type() const { return is_array() ? element_type_ : type_; }
  template <typename T>
  std::optional<T> number_at(size_t index) const;

  GgufType type_ = GgufType::kUint8;
  GgufType element_type_ = GgufType::kUint8;
  uint64_t count_ = 1;
  std::span<const std::byte> bytes_;
};

struct GgufEntry {
  std::string_view key;
  GgufValue value;
};

/// A GGUF file (versions 2 and 3, little-endian), or all parts of a split one, mapped into memory.
/// Opening reads the header only and checks all of it: every count, length, offset and dimension against the file's
/// length, names for duplicates, tensor data for overlap. Everything handed out borrows from this object and stays
/// valid when it is moved.
class Gguf {
 public:
  /// `path` is the file, or part 00001 of a split one, whose other parts must lie beside it.
  /// kCorrupt, kUnsupported (version 1, big-endian, unknown tensor types), kNotFound (missing parts), kIo.
  static core::Result<Gguf> open(const std::filesystem::path& path);
  /// The same from memory, which must outlive the object. `place` names it in messages. Split files are refused.
  static core::Result<Gguf> from_bytes(std::span<const std::byte> bytes, std::string_view place = "gguf");

  /// Metadata of the (first) file, in file order.
  std::span<const GgufEntry> metadata() const { return metadata_; }
  /// The value of that key, or null.
  const GgufValue* find(std::string_view key) const;
  /// The value as T (see GgufValue::as). kNotFound when absent, kInvalid when of another type; the message names file,
  /// key, found and wanted type.
  template <typename T>
  core::Result<T> get(std::string_view key) const;
  /// As get, but `fallback` when the key is absent.
  template <typename T>
  core::Result<T> get_or(std::string_view key, T fallback) const;

  /// All tensors in file order, parts one after another. shape[0] is the outermost dimension (the file's order
  /// reversed).
  std::span<const NamedTensor> tensors() const { return tensors_; }
  /// The tensor of that name, or null.
  const core::TensorView* find_tensor(std::string_view name) const;

  uint32_t version() const { return version_; }
  uint32_t alignment() const { return alignment_; }
  /// Where the (first) file came from, as messages name it.
  const std::string& place() const { return place_; }
  /// The mapped files, in order.
  std::span<const core::MappedFile> files() const { return files_; }
  /// Bytes of all parts together.
  int64_t file_bytes() const;
  /// Tells the system that the tensor's pages are no longer needed in memory.
  void release(const core::TensorView& tensor) const;

 private:
  core::Status add_part(std::span<const std::byte> bytes, const std::string& place, int part, int parts);
  core::Status open_other_parts(const std::filesystem::path& first);

  core::Error missing(std::string_view key) const;
  core::Error mistyped(std::string_view key, const GgufValue& value, std::string_view wanted) const;

  std::string place_;
  uint32_t version_ = 0;
  uint32_t alignment_ = 32;
  std::vector<core::MappedFile> files_;
  int64_t bytes_ = 0;
  std::vector<GgufEntry> metadata_;
  std::unordered_map<std::string_view, size_t> keys_;
  std::vector<NamedTensor> tensors_;
  std::unordered_map<std::string_view, size_t> names_;
};

namespace detail {

template <typename T>
inline constexpr bool kIsVector = false;
template <typename T>
inline constexpr bool kIsVector<std::vector<T>> = true;

/// How messages call a wanted type.
template <typename T>
std::string wanted_name() {
  if constexpr (kIsVector<T>) {
    return "array of " + wanted_name<typename T::value_type>();
  } else if constexpr (std::is_same_v<T, GgufValue>) {
    return "arrays";
  } else if constexpr (std::is_same_v<T, bool>) {
    return "bool";
  } else if constexpr (std::is_floating_point_v<T>) {
    return "a number";
  } else if constexpr (std::is_integral_v<T>) {
    return (std::is_signed_v<T> ? "int" : "uint") + std::to_string(sizeof(T) * 8);
  } else {
    return "string";
  }
}

}  // namespace detail

template <typename T>
std::optional<T> GgufValue::number_at(size_t index) const {
  if constexpr (std::is_same_v<T, bool>) {
    return bool_at(index);
  } else if constexpr (std::is_floating_point_v<T>) {
    const auto value = real_at(index);
    return value ? std::optional<T>(static_cast<T>(*value)) : std::nullopt;
  } else if constexpr (std::is_signed_v<T>) {
    const auto value = signed_at(index);
    return value && std::in_range<T>(*value) ? std::optional<T>(static_cast<T>(*value)) : std::nullopt;
  } else {
    const auto value = unsigned_at(index);
    return value && std::in_range<T>(*value) ? std::optional<T>(static_cast<T>(*value)) : std::nullopt;
  }
}

template <typename T>
std::optional<T> GgufValue::as() const {
  if constexpr (std::is_same_v<T, std::string_view> || std::is_same_v<T, std::string>) {
    if (type_ != GgufType::kString) return std::nullopt;
    return T(reinterpret_cast<const char*>(bytes_.data()), bytes_.size());
  } else if constexpr (!detail::kIsVector<T>) {
    static_assert(std::is_arithmetic_v<T>);
    return is_array() ? std::nullopt : number_at<T>(0);
  } else if constexpr (std::is_same_v<T, std::vector<std::string_view>>) {
    return string_elements();
  } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
    const auto views = string_elements();
    return views ? std::optional<T>(T(views->begin(), views->end())) : std::nullopt;
  } else if constexpr (std::is_same_v<T, std::vector<GgufValue>>) {
    return array_elements();
  } else {
    if (!is_array() || type_size(element_type_) == 0) return std::nullopt;
    T values;
    values.reserve(static_cast<size_t>(count_));
    for (size_t i = 0; i < count_; ++i) {
      const auto value = number_at<typename T::value_type>(i);
      if (!value) return std::nullopt;
      values.push_back(*value);
    }
    return values;
  }
}

template <typename T>
core::Result<T> Gguf::get(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::unexpected(missing(key));
  auto converted = value->as<T>();
  if (!converted) return std::unexpected(mistyped(key, *value, detail::wanted_name<T>()));
  return std::move(*converted);
}

template <typename T>
core::Result<T> Gguf::get_or(std::string_view key, T fallback) const {
  if (find(key) == nullptr) return fallback;
  return get<T>(key);
}

}  // namespace lamina::format
