#include "format/gguf_parser.h"

#include <algorithm>
#include <bit>

#include "format/gguf_types.h"

namespace lamina::format {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

namespace {

constexpr int kMaxArrayDepth = 4;
constexpr uint64_t kMaxNameBytes = 65535;
constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr uint32_t kMaxAlignment = 1u << 30;
/// Fewest bytes that a metadata entry (key length, one character, type, one byte) and a tensor entry can take.
constexpr uint64_t kMinEntryBytes = 8 + 1 + 4 + 1;
constexpr uint64_t kMinTensorBytes = 8 + 1 + 4 + 4 + 8;

std::unexpected<core::Error> value_error(std::string_view place, std::string_view what) {
  return fail(ErrorCode::kCorrupt, place, "{}", what);
}

/// Moves `reader` over `count` elements and checks them.
Status skip_elements(ByteReader& reader, GgufType type, uint64_t count, int depth, std::string_view place);

Status read_array_start(ByteReader& reader, std::string_view place, GgufType& type, uint64_t& count) {
  uint32_t number = 0;
  if (!reader.read(number) || !reader.read(count)) return value_error(place, "the file ends inside an array");
  type = static_cast<GgufType>(number);
  if (type_name(type) == "unknown") {
    return fail(ErrorCode::kCorrupt, place, "array elements of unknown type {}; 0 to 12 expected", number);
  }
  return {};
}

Status skip_elements(ByteReader& reader, GgufType type, uint64_t count, int depth, std::string_view place) {
  std::span<const std::byte> piece;
  if (const size_t size = type_size(type); size != 0) {
    if (count > reader.left() / size || !reader.take(count * size, piece)) {
      return fail(ErrorCode::kCorrupt, place, "{} elements of {} are declared, {} bytes are left in the file", count,
                  type_name(type), reader.left());
    }
    return {};
  }
  if (depth >= kMaxArrayDepth) {
    return fail(ErrorCode::kLimit, place, "arrays are nested deeper than {}", kMaxArrayDepth);
  }
  const size_t smallest = type == GgufType::kString ? 8 : 12;
  if (count > reader.left() / smallest) {
    return fail(ErrorCode::kCorrupt, place, "{} elements of {} are declared, {} bytes are left in the file", count,
                type_name(type), reader.left());
  }
  for (uint64_t i = 0; i < count; ++i) {
    if (type == GgufType::kString) {
      uint64_t length = 0;
      if (!reader.read(length) || !reader.take(length, piece)) {
        return fail(ErrorCode::kCorrupt, place, "string {} of {} reaches past the end of the file", i, count);
      }
      continue;
    }
    GgufType inner{};
    uint64_t inner_count = 0;
    LAMINA_CHECK_OK(read_array_start(reader, place, inner, inner_count));
    LAMINA_CHECK_OK(skip_elements(reader, inner, inner_count, depth + 1, place));
  }
  return {};
}

}  // namespace

Result<GgufValue> read_gguf_value(ByteReader& reader, GgufType type, std::string_view place) {
  std::span<const std::byte> piece;
  if (const size_t size = type_size(type); size != 0) {
    if (!reader.take(size, piece)) return value_error(place, "the file ends inside the value");
    return GgufValue(type, type, 1, piece);
  }
  if (type == GgufType::kString) {
    uint64_t length = 0;
    if (!reader.read(length)) return value_error(place, "the file ends inside the value");
    if (!reader.take(length, piece)) {
      return fail(ErrorCode::kCorrupt, place, "a string of {} bytes is declared, {} bytes are left in the file", length,
                  reader.left());
    }
    return GgufValue(type, type, 1, piece);
  }
  if (type != GgufType::kArray) {
    return fail(ErrorCode::kCorrupt, place, "unknown value type {}; 0 to 12 expected", static_cast<uint32_t>(type));
  }
  GgufType element{};
  uint64_t count = 0;
  LAMINA_CHECK_OK(read_array_start(reader, place, element, count));
  ByteReader start = reader;
  LAMINA_CHECK_OK(skip_elements(reader, element, count, 1, place));
  start.take(reader.position() - start.position(), piece);
  return GgufValue(type, element, count, piece);
}

std::unexpected<core::Error> GgufParser::truncated(std::string_view what) const {
  return fail(ErrorCode::kCorrupt, place_, "the file ends inside {} (at byte {})", what, bytes_.size());
}

Result<std::string_view> GgufParser::parse_name(std::string_view what) {
  uint64_t length = 0;
  if (!reader_.read(length)) return truncated(what);
  if (length == 0 || length > kMaxNameBytes) {
    return fail(ErrorCode::kCorrupt, place_, "{} at byte {} has {} characters; 1 to {} expected", what,
                reader_.position(), length, kMaxNameBytes);
  }
  std::span<const std::byte> piece;
  if (!reader_.take(length, piece)) return truncated(what);
  const std::string_view name(reinterpret_cast<const char*>(piece.data()), piece.size());
  if (!is_clean_utf8(name, false)) {
    return fail(ErrorCode::kCorrupt, place_, "{} {} is not plain UTF-8 text", what, excerpt(name));
  }
  return name;
}

Status GgufParser::parse_start() {
  uint32_t magic = 0;
  if (!reader_.read(magic)) return truncated("the first four bytes");
  if (magic != kMagic) {
    return fail(ErrorCode::kCorrupt, place_, "starts with bytes {:#010x}; a GGUF file starts with \"GGUF\"", magic);
  }
  if (!reader_.read(version)) return truncated("the version");
  if (version != 0 && (version & 0xffffu) == 0) {
    return fail(ErrorCode::kUnsupported, place_, "is a big-endian GGUF file; convert it to little-endian");
  }
  if (version < 2 || version > 3) {
    return fail(ErrorCode::kUnsupported, place_, "is GGUF version {}; versions 2 and 3 can be read", version);
  }
  if (!reader_.read(tensor_count_) || !reader_.read(key_count_)) return truncated("the counts");
  if (key_count_ > reader_.left() / kMinEntryBytes || tensor_count_ > reader_.left() / kMinTensorBytes) {
    return fail(ErrorCode::kCorrupt, place_, "{} metadata keys and {} tensors are declared in a file of {} bytes",
                key_count_, tensor_count_, bytes_.size());
  }
  return {};
}

Status GgufParser::parse_metadata() {
  for (uint64_t i = 0; i < key_count_; ++i) {
    LAMINA_ASSIGN(const std::string_view key, parse_name("metadata key"));
    uint32_t type = 0;
    if (!reader_.read(type)) return truncated("a metadata type");
    auto value = read_gguf_value(reader_, static_cast<GgufType>(type), place_);
    if (!value) {
      value.error().message = fmt::format("metadata key {}: {}", excerpt(key), value.error().message);
      return std::unexpected(std::move(value).error());
    }
    if (!keys.emplace(key, metadata.size()).second) {
      return fail(ErrorCode::kCorrupt, place_, "metadata key {} appears twice", excerpt(key));
    }
    metadata.push_back({key, *value});
  }
  return {};
}

Status GgufParser::parse_alignment() {
  const auto found = keys.find("general.alignment");
  if (found == keys.end()) return {};
  const GgufValue& value = metadata[found->second].value;
  const auto declared = value.as<uint32_t>();
  if (!declared || *declared < 8 || *declared > kMaxAlignment || !std::has_single_bit(*declared)) {
    return fail(ErrorCode::kCorrupt, place_,
                "metadata key general.alignment: a power of two from 8 to {} expected, the file has {}", kMaxAlignment,
                declared ? std::to_string(*declared) : value.describe());
  }
  alignment = *declared;
  return {};
}

Status GgufParser::parse_shape(std::string_view name, core::TensorView& view) {
  uint32_t rank = 0;
  if (!reader_.read(rank)) return truncated("a tensor's rank");
  if (rank > core::kMaxRank) {
    return fail(ErrorCode::kUnsupported, place_, "tensor {} has {} dimensions; at most {} can be read", excerpt(name),
                rank, core::kMaxRank);
  }
  view.rank = rank == 0 ? 1 : static_cast<int>(rank);
  int64_t elements = 1;
  for (uint32_t i = 0; i < rank; ++i) {
    uint64_t size = 0;
    if (!reader_.read(size)) return truncated("a tensor's shape");
    const auto product =
        std::in_range<int64_t>(size) ? checked_multiply(elements, static_cast<int64_t>(size)) : std::nullopt;
    if (size == 0 || !product) {
      return fail(ErrorCode::kCorrupt, place_, "tensor {}: dimension {} is {}; its size must be positive and countable",
                  excerpt(name), i, size);
    }
    elements = *product;
    view.shape[rank - 1 - i] = static_cast<int64_t>(size);
  }
  return {};
}

Status GgufParser::parse_tensor(size_t index) {
  LAMINA_ASSIGN(const std::string_view name, parse_name("tensor name"));
  core::TensorView view;
  LAMINA_CHECK_OK(parse_shape(name, view));
  uint32_t type = 0;
  uint64_t offset = 0;
  if (!reader_.read(type) || !reader_.read(offset)) return truncated("a tensor's type and offset");
  view.format = gguf_tensor_format(type);
  if (view.format == nullptr) {
    const std::string_view removed = removed_gguf_type(type);
    return fail(ErrorCode::kUnsupported, place_, "tensor {} has {} type {}{}", excerpt(name),
                removed.empty() ? "unknown" : "the removed", type,
                removed.empty() ? std::string() : fmt::format(" ({}); quantize the model anew", removed));
  }
  if (view.columns() % view.format->block_elements != 0) {
    return fail(ErrorCode::kCorrupt, place_, "tensor {}: rows of {} elements are not whole {} blocks of {}",
                excerpt(name), view.columns(), view.format->name, view.format->block_elements);
  }
  const auto bytes = checked_multiply(view.elements() / view.format->block_elements, view.format->block_bytes);
  if (!bytes || static_cast<uint64_t>(*bytes) > bytes_.size()) {
    return fail(ErrorCode::kCorrupt, place_, "tensor {} of {} {} elements is larger than the file of {} bytes",
                excerpt(name), view.elements(), view.format->name, bytes_.size());
  }
  if (offset % alignment != 0) {
    return fail(ErrorCode::kCorrupt, place_, "tensor {}: offset {} is not a multiple of the alignment {}",
                excerpt(name), offset, alignment);
  }
  ranges_.push_back({offset, static_cast<uint64_t>(*bytes), index});
  tensors.push_back({name, view});
  return {};
}

Status GgufParser::place_tensors() {
  const uint64_t start = (reader_.position() + uint64_t{alignment} - 1) / alignment * alignment;
  const uint64_t length = bytes_.size();
  for (const Range& range : ranges_) {
    const bool inside = start <= length && range.begin <= length - start && range.size <= length - start - range.begin;
    if (!inside) {
      return fail(ErrorCode::kCorrupt, place_,
                  "tensor {}: its {} bytes at offset {} of the data reach past the end of the file ({} bytes); the "
                  "file is cut off or damaged",
                  excerpt(tensors[range.tensor].name), range.size, range.begin, length);
    }
    tensors[range.tensor].view.data = bytes_.data() + start + range.begin;
  }
  return check_overlap();
}

Status GgufParser::check_overlap() {
  std::ranges::sort(ranges_, {}, &Range::begin);
  for (size_t i = 1; i < ranges_.size(); ++i) {
    if (ranges_[i].begin - ranges_[i - 1].begin < ranges_[i - 1].size) {
      return fail(ErrorCode::kCorrupt, place_, "tensors {} and {} overlap",
                  excerpt(tensors[ranges_[i - 1].tensor].name), excerpt(tensors[ranges_[i].tensor].name));
    }
  }
  return {};
}

Status GgufParser::parse() {
  LAMINA_CHECK_OK(parse_start());
  LAMINA_CHECK_OK(parse_metadata());
  LAMINA_CHECK_OK(parse_alignment());
  for (uint64_t i = 0; i < tensor_count_; ++i) LAMINA_CHECK_OK(parse_tensor(static_cast<size_t>(i)));
  return place_tensors();
}

Status GgufParser::check_part(int index, int count) const {
  const auto number = [&](std::string_view key) {
    const auto found = keys.find(key);
    return found == keys.end() ? -1 : metadata[found->second].value.as<int32_t>().value_or(-1);
  };
  if (number("split.no") != index || number("split.count") != count) {
    return fail(ErrorCode::kCorrupt, place_, "split.no is {} and split.count {}; {} and {} expected",
                number("split.no"), number("split.count"), index, count);
  }
  return {};
}

}  // namespace lamina::format
