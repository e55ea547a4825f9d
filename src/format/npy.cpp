#include "format/npy.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstring>
#include <optional>
#include <string_view>

#include "format/checked.h"

namespace lamina::format {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

namespace {

constexpr std::string_view kMagic("\x93NUMPY", 6);

std::string_view descriptor(NpyType type) {
  switch (type) {
    case NpyType::kFloat32:
      return "<f4";
    case NpyType::kInt32:
      return "<i4";
    case NpyType::kInt64:
      return "<i8";
  }
  return {};
}

/// What follows `key` and its colon in the header's dictionary, or nothing.
std::optional<std::string_view> after_key(std::string_view header, std::string_view key) {
  const size_t at = header.find(key);
  if (at == std::string_view::npos) return std::nullopt;
  std::string_view rest = header.substr(at + key.size());
  const size_t start = rest.find_first_not_of(": ");
  if (start == std::string_view::npos) return std::nullopt;
  return rest.substr(start);
}

/// The sizes in a text such as "(3, 4), ...".
std::optional<std::vector<int64_t>> parse_tuple(std::string_view text) {
  const size_t close = text.find(')');
  if (text.empty() || text[0] != '(' || close == std::string_view::npos) return std::nullopt;
  std::vector<int64_t> sizes;
  const char* at = text.data() + 1;
  const char* end = text.data() + close;
  while (at < end) {
    if (*at == ' ' || *at == ',') {
      ++at;
      continue;
    }
    int64_t size = 0;
    const auto [stop, problem] = std::from_chars(at, end, size);
    if (problem != std::errc() || size < 0) return std::nullopt;
    sizes.push_back(size);
    at = stop;
  }
  return sizes;
}

/// Header text and the position of the data.
Result<std::pair<std::string_view, size_t>> read_header(std::span<const std::byte> bytes, const std::string& place) {
  ByteReader reader(bytes);
  std::span<const std::byte> magic;
  std::span<const std::byte> text;
  uint8_t major = 0;
  uint8_t minor = 0;
  uint16_t short_length = 0;
  uint32_t length = 0;
  if (!reader.take(kMagic.size(), magic) || std::memcmp(magic.data(), kMagic.data(), kMagic.size()) != 0) {
    return fail(ErrorCode::kCorrupt, place, "is not a .npy file");
  }
  bool good = reader.read(major) && reader.read(minor) && major >= 1 && major <= 3;
  if (good && major == 1) {
    good = reader.read(short_length);
    length = short_length;
  } else if (good) {
    good = reader.read(length);
  }
  if (!good || !reader.take(length, text)) return fail(ErrorCode::kCorrupt, place, "its .npy header is damaged");
  return std::pair(std::string_view(reinterpret_cast<const char*>(text.data()), text.size()), reader.position());
}

}  // namespace

std::string NpyWriter::header() const {
  std::string sizes;
  for (const int64_t size : row_shape_) sizes += fmt::format(", {}", size);
  std::string text = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}{}), }}", descriptor(type_),
                                 rows_, sizes.empty() ? "," : sizes);
  // Room for the largest row count keeps the header's length, which a multiple of 64 must end.
  const size_t widest = text.size() + 20 - std::to_string(rows_).size();
  const size_t total = (kMagic.size() + 4 + widest + 1 + 63) / 64 * 64;
  text.append(total - kMagic.size() - 4 - 1 - text.size(), ' ');
  text += '\n';
  const auto length = static_cast<uint16_t>(text.size());
  std::string out(kMagic);
  out += {'\x01', '\x00', static_cast<char>(length & 0xff), static_cast<char>(length >> 8)};
  return out + text;
}

Result<NpyWriter> NpyWriter::create(const std::filesystem::path& path, NpyType type,
                                    std::span<const int64_t> row_shape) {
  int64_t elements = 1;
  for (const int64_t size : row_shape) {
    const auto product = checked_multiply(elements, size);
    if (!product || *product == 0 || row_shape.size() > 8) {
      return fail(ErrorCode::kInvalid, path.string(), "a row has a dimension of {}; positive sizes expected", size);
    }
    elements = *product;
  }
  LAMINA_ASSIGN(OutputFile file, OutputFile::create(path));
  NpyWriter writer(std::move(file), type);
  writer.row_shape_.assign(row_shape.begin(), row_shape.end());
  writer.row_elements_ = elements;
  LAMINA_CHECK_OK(writer.file_.write(writer.header()));
  return writer;
}

Status NpyWriter::append(NpyType type, size_t count, std::span<const std::byte> bytes) {
  if (type != type_ || count % static_cast<size_t>(row_elements_) != 0) {
    return fail(ErrorCode::kInvalid, "npy", "{} numbers of {} given; whole rows of {} numbers of {} expected", count,
                descriptor(type), row_elements_, descriptor(type_));
  }
  rows_ += static_cast<int64_t>(count) / row_elements_;
  return file_.write(bytes);
}

Status NpyWriter::write_rows(std::span<const float> values) {
  return append(NpyType::kFloat32, values.size(), std::as_bytes(values));
}

Status NpyWriter::write_rows(std::span<const int32_t> values) {
  return append(NpyType::kInt32, values.size(), std::as_bytes(values));
}

Status NpyWriter::write_rows(std::span<const int64_t> values) {
  return append(NpyType::kInt64, values.size(), std::as_bytes(values));
}

Status NpyWriter::finish() {
  const std::string text = header();
  LAMINA_CHECK_OK(file_.overwrite(0, std::as_bytes(std::span(text))));
  return file_.commit();
}

Result<NpyFile> NpyFile::open(const std::filesystem::path& path) {
  const std::string place = path.string();
  NpyFile npy;
  LAMINA_ASSIGN(npy.file_, core::MappedFile::open(path));
  const auto bytes = npy.file_.bytes();
  LAMINA_ASSIGN(const auto header, read_header(bytes, place));
  const auto [text, start] = header;
  const auto type = after_key(text, "'descr'");
  const auto order = after_key(text, "'fortran_order'");
  const auto shape = after_key(text, "'shape'");
  if (!type || !order || !shape) return fail(ErrorCode::kCorrupt, place, "its .npy header is damaged");
  if (!type->starts_with("'<f4'") || !order->starts_with("False") || start % sizeof(float) != 0) {
    return fail(ErrorCode::kUnsupported, place, "little-endian float32 in C order expected, the file has {}",
                excerpt(text));
  }
  auto sizes = parse_tuple(*shape);
  if (!sizes || sizes->empty()) return fail(ErrorCode::kUnsupported, place, "at least one dimension expected");
  npy.shape_ = std::move(*sizes);
  std::optional<int64_t> elements = 1;
  for (const int64_t size : npy.shape_) elements = elements ? checked_multiply(*elements, size) : std::nullopt;
  const auto wanted = elements ? checked_multiply(*elements, sizeof(float)) : std::nullopt;
  if (!wanted || static_cast<uint64_t>(*wanted) != bytes.size() - start) {
    return fail(ErrorCode::kCorrupt, place, "its shape {} does not agree with {} bytes of data",
                excerpt(shape->substr(0, shape->find(')') + 1)), bytes.size() - start);
  }
  npy.row_elements_ = npy.shape_[0] == 0 ? 0 : *elements / npy.shape_[0];
  npy.values_ = reinterpret_cast<const float*>(bytes.data() + start);
  return npy;
}

Status write_npy(const std::filesystem::path& path, std::span<const int64_t> shape, std::span<const float> values) {
  if (shape.empty()) return fail(ErrorCode::kInvalid, path.string(), "at least one dimension expected");
  LAMINA_ASSIGN(NpyWriter writer, NpyWriter::create(path, NpyType::kFloat32, shape.subspan(1)));
  LAMINA_CHECK_OK(writer.write_rows(values));
  if (writer.rows() != shape[0]) {
    return fail(ErrorCode::kInvalid, path.string(), "{} values make {} rows; {} expected", values.size(), writer.rows(),
                shape[0]);
  }
  return writer.finish();
}

}  // namespace lamina::format
