#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "core/result.h"
#include "core/tensor.h"
#include "format/gguf.h"
#include "format/tensor_source.h"

namespace lamina::format {

/// Writes a GGUF version 3 file. Keys and tensors are written in the order in which they were first set or added.
class GgufWriter {
 public:
  /// `alignment` of the tensors' data: a power of two, at least 8.
  explicit GgufWriter(uint32_t alignment = 32) : alignment_(alignment) {}

  /// Sets a metadata value: bool, an integer type, float, double, text, or a vector of one of these. Replaces an
  /// earlier value of that key. The type of T is the type in the file.
  template <typename T>
  void set(std::string_view key, const T& value);
  /// Sets a value as another file has it.
  void set(std::string_view key, const GgufValue& value);
  /// Removes a key if it is set.
  void erase(std::string_view key);
  /// Sets all metadata of a file, except what belongs to that file alone (split.*, general.alignment).
  void copy_metadata(const Gguf& gguf);

  /// Adds a tensor whose memory must live until write(). kInvalid on a bad or repeated name, shape or format.
  core::Status add_tensor(std::string_view name, const core::TensorView& tensor);
  /// Adds a tensor of `shape` (format, rank and shape are used) whose bytes `source` gives when the file is written.
  core::Status add_tensor(std::string_view name, const core::TensorView& shape, TensorSource source);

  /// Writes the file under a temporary name and renames it when it is complete.
  core::Status write(const std::filesystem::path& path) const;
  /// As write(), but where the tensors take more than `max_bytes`, in several files whose names end in
  /// -00001-of-0000N.gguf: tensors in order, as many a file as fit, metadata in the first. Returns the paths.
  core::Result<std::vector<std::filesystem::path>> write_parts(const std::filesystem::path& path,
                                                               int64_t max_bytes) const;

 private:
  struct Value {
    std::string key;
    GgufType type;
    std::string payload;
  };

  void set_payload(std::string_view key, GgufType type, std::string payload);
  core::Status check() const;
  std::string header(std::span<const Value> values, std::span<const PendingTensor> tensors) const;
  core::Status write_file(const std::filesystem::path& path, std::span<const Value> values,
                          std::span<const PendingTensor> tensors) const;

  uint32_t alignment_;
  std::vector<Value> values_;
  std::vector<PendingTensor> tensors_;
  std::unordered_map<std::string, size_t> names_;
};

namespace detail {

/// The GGUF type of a C++ number or bool.
template <typename T>
constexpr GgufType gguf_type() {
  if constexpr (std::is_same_v<T, bool>) {
    return GgufType::kBool;
  } else if constexpr (std::is_floating_point_v<T>) {
    return sizeof(T) == 4 ? GgufType::kFloat32 : GgufType::kFloat64;
  } else if constexpr (std::is_signed_v<T>) {
    constexpr GgufType kBySize[] = {GgufType::kInt8, GgufType::kInt16, GgufType::kInt32, GgufType::kInt64};
    return kBySize[sizeof(T) == 1 ? 0 : sizeof(T) == 2 ? 1 : sizeof(T) == 4 ? 2 : 3];
  } else {
    constexpr GgufType kBySize[] = {GgufType::kUint8, GgufType::kUint16, GgufType::kUint32, GgufType::kUint64};
    return kBySize[sizeof(T) == 1 ? 0 : sizeof(T) == 2 ? 1 : sizeof(T) == 4 ? 2 : 3];
  }
}

template <typename T>
void append_number(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

inline void append_text(std::string& out, std::string_view text) {
  append_number(out, uint64_t{text.size()});
  out += text;
}

}  // namespace detail

template <typename T>
void GgufWriter::set(std::string_view key, const T& value) {
  std::string payload;
  if constexpr (std::is_convertible_v<const T&, std::string_view>) {
    detail::append_text(payload, value);
    set_payload(key, GgufType::kString, std::move(payload));
  } else if constexpr (detail::kIsVector<T>) {
    using Element = typename T::value_type;
    constexpr bool kIsText = std::is_convertible_v<const Element&, std::string_view>;
    GgufType type = GgufType::kString;
    if constexpr (!kIsText) type = detail::gguf_type<Element>();
    detail::append_number(payload, static_cast<uint32_t>(type));
    detail::append_number(payload, uint64_t{value.size()});
    for (const auto& element : value) {
      if constexpr (kIsText) {
        detail::append_text(payload, element);
      } else {
        detail::append_number<Element>(payload, element);
      }
    }
    set_payload(key, GgufType::kArray, std::move(payload));
  } else {
    static_assert(std::is_arithmetic_v<T>);
    detail::append_number(payload, value);
    set_payload(key, detail::gguf_type<T>(), std::move(payload));
  }
}

}  // namespace lamina::format
