#include "format/safetensors.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <tuple>
#include <utility>

#include "codec/codec.h"
#include "format/checked.h"
#include "format/json.h"
#include "format/mapped_files.h"
#include "format/safetensors_types.h"

namespace lamina::format {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;
using nlohmann::json;

namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;

/// A tensor as the header declares it; begin and end count from the start of the data.
struct Declared {
  std::string name;
  core::TensorView view;
  uint64_t begin = 0;
  uint64_t end = 0;
};

std::unexpected<core::Error> bad_tensor(const std::string& place, const std::string& name, std::string_view what) {
  return fail(ErrorCode::kCorrupt, place, "tensor {}: {}", excerpt(name), what);
}

Result<core::TensorView> read_shape(const json& shape, const std::string& place, const std::string& name) {
  core::TensorView view;
  if (!shape.is_array()) return bad_tensor(place, name, "\"shape\" must be an array of sizes");
  if (shape.size() > core::kMaxRank) {
    return fail(ErrorCode::kUnsupported, place, "tensor {} has {} dimensions; at most {} can be read", excerpt(name),
                shape.size(), core::kMaxRank);
  }
  view.rank = std::max(1, static_cast<int>(shape.size()));
  int64_t elements = 1;
  for (size_t i = 0; i < shape.size(); ++i) {
    const bool counts = shape[i].is_number_unsigned() && std::in_range<int64_t>(shape[i].get<uint64_t>());
    const auto product = counts ? checked_multiply(elements, shape[i].get<int64_t>()) : std::nullopt;
    if (!product) return bad_tensor(place, name, "\"shape\" must hold sizes whose product can be counted");
    elements = *product;
    view.shape[i] = shape[i].get<int64_t>();
  }
  return view;
}

Result<Declared> read_declared(const std::string& name, const json& entry, const std::string& place) {
  if (name.empty() || !is_clean_utf8(name, false)) return bad_tensor(place, name, "the name is not plain text");
  const auto member = [&](const char* key) {
    const auto found = entry.is_object() ? entry.find(key) : entry.end();
    return found == entry.end() ? json() : *found;
  };
  const json dtype = member("dtype");
  const json offsets = member("data_offsets");
  const bool complete = dtype.is_string() && offsets.is_array() && offsets.size() == 2 &&
                        offsets[0].is_number_unsigned() && offsets[1].is_number_unsigned();
  if (!complete) {
    return bad_tensor(place, name, "an object with \"dtype\", \"shape\" and \"data_offsets\": [begin, end] expected");
  }
  Declared declared{name, {}, offsets[0].get<uint64_t>(), offsets[1].get<uint64_t>()};
  LAMINA_ASSIGN(declared.view, read_shape(member("shape"), place, name));
  declared.view.format = safetensors_format(dtype.get_ref<const std::string&>());
  if (declared.view.format == nullptr) {
    return fail(ErrorCode::kUnsupported, place, "tensor {} has the unknown dtype {}", excerpt(name),
                excerpt(dtype.get_ref<const std::string&>()));
  }
  const auto bytes = checked_multiply(declared.view.elements(), declared.view.format->block_bytes);
  if (!bytes || declared.begin > declared.end || declared.end - declared.begin != static_cast<uint64_t>(*bytes)) {
    return fail(ErrorCode::kCorrupt, place, "tensor {}: data_offsets [{}, {}] do not agree with {} elements of {}",
                excerpt(name), declared.begin, declared.end, declared.view.elements(), declared.view.format->name);
  }
  return declared;
}

/// The data must be covered without holes or overlap, as the format demands.
Status check_cover(std::vector<Declared>& all, uint64_t data_bytes, const std::string& place) {
  // Tensors without elements share their place; the name decides then.
  std::ranges::sort(all, {}, [](const Declared& d) { return std::tie(d.begin, d.end, d.name); });
  uint64_t covered = 0;
  for (const Declared& declared : all) {
    if (declared.end > data_bytes) {
      return fail(ErrorCode::kCorrupt, place,
                  "tensor {} ends at byte {} of the data, but the file holds {}; it is cut off or damaged",
                  excerpt(declared.name), declared.end, data_bytes);
    }
    if (declared.begin != covered) {
      return fail(ErrorCode::kCorrupt, place, "tensor {} starts at byte {} of the data; {} expected ({})",
                  excerpt(declared.name), declared.begin, covered,
                  declared.begin < covered ? "it overlaps the one before" : "there is a hole before it");
    }
    covered = declared.end;
  }
  if (covered != data_bytes) {
    return fail(ErrorCode::kCorrupt, place, "{} bytes after the last tensor belong to none", data_bytes - covered);
  }
  return {};
}

Result<std::map<std::string, std::string>> read_metadata(const json& entry, const std::string& place) {
  std::map<std::string, std::string> metadata;
  if (!entry.is_object()) return fail(ErrorCode::kCorrupt, place, "__metadata__ must map text to text");
  for (const auto& [key, value] : entry.items()) {
    if (!value.is_string()) return fail(ErrorCode::kCorrupt, place, "__metadata__ must map text to text");
    metadata.emplace(key, value.get<std::string>());
  }
  return metadata;
}

/// Gives the tensors that `text`, the value of kBlocksKey, names the format and shape of their blocks.
Status apply_blocks(const std::string& text, std::vector<Declared>& all, const std::string& place) {
  LAMINA_ASSIGN(const json blocks, parse_json(text, place + ": " + std::string(kBlocksKey)));
  if (!blocks.is_object()) return fail(ErrorCode::kCorrupt, place, "{} must be an object", kBlocksKey);
  for (Declared& declared : all) {
    const auto entry = blocks.find(declared.name);
    if (entry == blocks.end()) continue;
    const json codec_name = entry->is_object() ? entry->value("codec", json()) : json();
    const codec::Codec* codec =
        codec_name.is_string() ? codec::find_codec(codec_name.get_ref<const std::string&>()) : nullptr;
    if (codec == nullptr) {
      return fail(ErrorCode::kUnsupported, place, "tensor {} holds blocks of the unknown codec {}",
                  excerpt(declared.name), excerpt(codec_name.dump(-1, ' ', true, json::error_handler_t::replace)));
    }
    LAMINA_ASSIGN(core::TensorView view, read_shape(entry->value("shape", json()), place, declared.name));
    view.format = &codec->format;
    const auto rows = view.columns() % codec->format.block_elements == 0
                          ? checked_multiply(view.elements() / codec->format.block_elements, codec->format.block_bytes)
                          : std::nullopt;
    const bool bytes = declared.view.format->name == "u8";
    if (!bytes || !rows || static_cast<uint64_t>(*rows) != declared.end - declared.begin) {
      return bad_tensor(place, declared.name, "its bytes are not the blocks that the metadata declare");
    }
    declared.view = view;
  }
  return {};
}

/// The shard names of an index, each a plain file name.
Result<std::set<std::string>> shard_names(const json& index, const std::string& place) {
  const auto map = index.is_object() ? index.find("weight_map") : index.end();
  if (map == index.end() || !map->is_object() || map->empty()) {
    return fail(ErrorCode::kCorrupt, place, "an object \"weight_map\" from tensor to file name expected");
  }
  std::set<std::string> names;
  for (const auto& [tensor, file] : map->items()) {
    const std::string name = file.is_string() ? file.get<std::string>() : std::string();
    const bool plain =
        is_clean_utf8(name, false) && std::filesystem::path(name).filename() == name && name.ends_with(".safetensors");
    if (!plain) {
      return fail(ErrorCode::kCorrupt, place, "tensor {}: {} is not a plain .safetensors file name", excerpt(tensor),
                  excerpt(name));
    }
    names.insert(name);
  }
  return names;
}

}  // namespace

const core::TensorView* Safetensors::find_tensor(std::string_view name) const {
  const auto found = names_.find(name);
  return found == names_.end() ? nullptr : &tensors_[found->second].view;
}

void Safetensors::release(const core::TensorView& tensor) const {
  release_pages(files_, tensor);
}

Status Safetensors::align(core::TensorView& view, const std::string& place) {
  const int64_t width = view.format->block_elements == 1 ? view.format->block_bytes : 1;
  const bool aligned = reinterpret_cast<uintptr_t>(view.data) % static_cast<uintptr_t>(width) == 0;
  if (aligned || codec::codec_of(*view.format) == nullptr) return {};
  auto copy = core::AlignedBuffer::allocate(static_cast<size_t>(view.bytes()));
  if (!copy) return fail(copy.error().code, place, "a copy of a misaligned tensor: {}", copy.error().message);
  if (copy->size() > 0) std::memcpy(copy->data(), view.data, copy->size());
  view.data = copy->data();
  copies_.push_back(std::move(*copy));
  return {};
}

Status Safetensors::add_file(std::span<const std::byte> bytes, const std::string& place) {
  ByteReader reader(bytes);
  uint64_t header_bytes = 0;
  std::span<const std::byte> header;
  if (!reader.read(header_bytes)) {
    return fail(ErrorCode::kCorrupt, place, "has {} bytes; too short for safetensors", bytes.size());
  }
  if (header_bytes > kMaxHeaderBytes || !reader.take(header_bytes, header)) {
    return fail(ErrorCode::kCorrupt, place, "declares a header of {} bytes; at most {} fit (limit {})", header_bytes,
                reader.left(), kMaxHeaderBytes);
  }
  const std::string_view text(reinterpret_cast<const char*>(header.data()), header.size());
  LAMINA_ASSIGN(const json root, parse_json(text, place));
  if (!root.is_object() || text[0] != '{') return fail(ErrorCode::kCorrupt, place, "the header must be a JSON object");
  std::vector<Declared> all;
  std::string blocks;
  for (const auto& [name, entry] : root.items()) {
    if (name == "__metadata__") {
      LAMINA_ASSIGN(auto metadata, read_metadata(entry, place));
      if (const auto found = metadata.find(std::string(kBlocksKey)); found != metadata.end()) blocks = found->second;
      if (bytes_ == 0) metadata_ = std::move(metadata);
      continue;
    }
    LAMINA_ASSIGN(Declared declared, read_declared(name, entry, place));
    all.push_back(std::move(declared));
  }
  LAMINA_CHECK_OK(check_cover(all, reader.left(), place));
  if (!blocks.empty()) LAMINA_CHECK_OK(apply_blocks(blocks, all, place));
  for (Declared& declared : all) {
    declared.view.data = bytes.data() + reader.position() + declared.begin;
    LAMINA_CHECK_OK(align(declared.view, place));
    const std::string_view name = owned_names_.emplace_back(std::move(declared.name));
    if (!names_.emplace(name, tensors_.size()).second) {
      return fail(ErrorCode::kCorrupt, place, "tensor {} is also in another shard", excerpt(name));
    }
    tensors_.push_back({name, declared.view});
  }
  bytes_ += static_cast<int64_t>(bytes.size());
  return {};
}

Status Safetensors::add_mapped(const std::filesystem::path& path) {
  LAMINA_ASSIGN(core::MappedFile file, core::MappedFile::open(path));
  LAMINA_CHECK_OK(add_file(file.bytes(), path.string()));
  files_.push_back(std::move(file));
  return {};
}

Status Safetensors::open_index(const std::filesystem::path& index) {
  LAMINA_ASSIGN(const core::MappedFile file, core::MappedFile::open(index));
  const auto bytes = file.bytes();
  if (bytes.size() > kMaxHeaderBytes) {
    return fail(ErrorCode::kLimit, index.string(), "has {} bytes; an index has at most {}", bytes.size(),
                kMaxHeaderBytes);
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  LAMINA_ASSIGN(const json root, parse_json(text, index.string()));
  LAMINA_ASSIGN(const auto shards, shard_names(root, index.string()));
  for (const std::string& shard : shards) LAMINA_CHECK_OK(add_mapped(index.parent_path() / shard));
  for (const auto& [tensor, shard] : root["weight_map"].items()) {
    if (find_tensor(tensor) != nullptr) continue;
    return fail(ErrorCode::kCorrupt, index.string(), "tensor {} should be in {}, but is not", excerpt(tensor),
                shard.get<std::string>());
  }
  return {};
}

Result<Safetensors> Safetensors::open(const std::filesystem::path& path) {
  Safetensors safetensors;
  LAMINA_CHECK_OK(path.extension() == ".json" ? safetensors.open_index(path) : safetensors.add_mapped(path));
  return safetensors;
}

Result<Safetensors> Safetensors::from_bytes(std::span<const std::byte> bytes, std::string_view place) {
  Safetensors safetensors;
  LAMINA_CHECK_OK(safetensors.add_file(bytes, std::string(place)));
  return safetensors;
}

}  // namespace lamina::format
