#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/result.h"
#include "format/checked.h"
#include "format/gguf.h"

namespace lamina::format {

/// Reads one metadata value of that type and checks all of it (for an array, every element) against the bytes left.
core::Result<GgufValue> read_gguf_value(ByteReader& reader, GgufType type, std::string_view place);

/// Reads the header of one GGUF file. The results borrow from `bytes`.
class GgufParser {
 public:
  GgufParser(std::span<const std::byte> bytes, const std::string& place)
      : bytes_(bytes), place_(place), reader_(bytes) {}

  core::Status parse();
  /// Checks that the parsed file is part `index` (from 0) of `count`, by its split.* keys.
  core::Status check_part(int index, int count) const;

  uint32_t version = 0;
  uint32_t alignment = 32;
  std::vector<GgufEntry> metadata;
  std::unordered_map<std::string_view, size_t> keys;
  std::vector<NamedTensor> tensors;

 private:
  struct Range {
    uint64_t begin;
    uint64_t size;
    size_t tensor;
  };

  core::Status parse_start();
  core::Status parse_metadata();
  core::Status parse_alignment();
  core::Status parse_tensor(size_t index);
  core::Status parse_shape(std::string_view name, core::TensorView& view);
  core::Status place_tensors();
  core::Status check_overlap();
  core::Result<std::string_view> parse_name(std::string_view what);
  std::unexpected<core::Error> truncated(std::string_view what) const;

  std::span<const std::byte> bytes_;
  const std::string& place_;
  ByteReader reader_;
  uint64_t tensor_count_ = 0;
  uint64_t key_count_ = 0;
  std::vector<Range> ranges_;
};

}  // namespace lamina::format
