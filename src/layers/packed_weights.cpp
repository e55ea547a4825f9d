#include <algorithm>
#include <map>

#include "core/checksum.h"
#include "kernels/linear_fingerprint.h"
#include "layers/weights.h"

namespace lamina::layers {

using core::ErrorCode;
using core::fail;

namespace {

/// Checksum of what the codec makes of some fixed numbers: another way of choosing scales makes another.
uint64_t encoding_of(const codec::Codec& codec) {
  constexpr int64_t kNumbers = 1024;
  std::vector<float> numbers(kNumbers);
  uint32_t state = 1;
  for (float& number : numbers) {
    state = state * 1664525 + 1013904223;
    number = static_cast<float>(static_cast<int32_t>(state)) * 0x1p-31F;
  }
  std::vector<std::byte> encoded(static_cast<size_t>(codec.format.row_bytes(kNumbers)));
  codec.encode(numbers.data(), kNumbers, encoded.data());
  return core::checksum(encoded);
}

}  // namespace

std::string Weights::recoded() const {
  std::string text;
  for (const Table& table : tables_) text += fmt::format("table {} {}\n", table.name, table.codec->format.name);
  for (const auto& linear : linears_) {
    if (linear->encodes()) text += fmt::format("{} {}\n", linear->name(), linear->layout().codec->format.name);
    if (linear->layout().kept > 0) text += fmt::format("{} for the largest inputs\n", linear->name());
  }
  return text;
}

std::vector<std::string> Weights::packed_keys() const {
  std::map<std::tuple<const codec::Codec*, int64_t, const kernels::PanelFormat*, bool>, uint64_t> forms;
  std::map<const codec::Codec*, uint64_t> encodings;
  const auto encoding = [&](const codec::Codec& codec) {
    auto found = encodings.find(&codec);
    if (found == encodings.end()) found = encodings.emplace(&codec, encoding_of(codec)).first;
    return fmt::format(" encoding {:016x}", found->second);
  };
  std::vector<std::string> keys;
  for (const Table& table : tables_) {
    keys.push_back(fmt::format("table {} {} -> {} {}x{}", table.name, table.source.format->name,
                               table.codec->format.name, table.source.rows(), table.source.columns()) +
                   encoding(*table.codec));
  }
  for (const size_t index : pack_order()) {
    const Linear& linear = *linears_[index];
    const kernels::WeightLayout& layout = linear.layout();
    const std::tuple kind(layout.codec, layout.inputs, layout.format, layout.by_input);
    auto form = forms.find(kind);
    if (form == forms.end()) form = forms.emplace(kind, kernels::layout_fingerprint(layout)).first;
    keys.push_back(linear.packed_key() + fmt::format(" form {:016x}", form->second));
    if (linear.encodes()) keys.back() += encoding(*layout.codec);
  }
  return keys;
}

core::Status Weights::adopt(format::PackedFile packed) {
  const std::string place = packed.path().string();
  if (const std::string stamp = files_.stamp(); packed.stamp() != stamp) {
    return fail(ErrorCode::kInvalid, place, "was made from {}; {} expected", packed.stamp(), stamp);
  }
  const std::vector<std::string> keys = packed_keys();
  if (keys.size() != packed.pieces().size()) {
    return fail(ErrorCode::kInvalid, place, "holds {} matrices; {} expected", packed.pieces().size(), keys.size());
  }
  const std::vector<size_t> order = pack_order();
  const auto linear = [&](size_t i) -> Linear& { return *linears_[order[i - tables_.size()]]; };
  const auto bytes = [&](size_t i) {
    return i < tables_.size() ? tables_[i].memory.size() : static_cast<size_t>(linear(i).bytes());
  };
  for (size_t i = 0; i < keys.size(); ++i) {
    const format::PackedPiece& piece = packed.pieces()[i];
    if (piece.key == keys[i] && piece.bytes.size() == bytes(i)) continue;
    return fail(ErrorCode::kInvalid, place, "holds {} of {} bytes; {} of {} expected", piece.key, piece.bytes.size(),
                keys[i], bytes(i));
  }
  packed_ = std::move(packed);
  for (size_t i = 0; i < keys.size(); ++i) {
    const std::byte* from = packed_->pieces()[i].bytes.data();
    if (i < tables_.size()) {
      std::copy_n(from, bytes(i), tables_[i].memory.data());
    } else {
      linear(i).adopt(from);
    }
  }
  return {};
}

core::Status Weights::save(const std::filesystem::path& path, core::ThreadPool& pool, const Progress& progress) {
  LAMINA_ASSIGN(format::PackedWriter writer, format::PackedWriter::create(path));
  std::vector<std::string> keys = packed_keys();
  size_t next = 0;
  core::AlignedBuffer one;
  const Memory memory = [&](size_t bytes) -> core::Result<std::byte*> {
    one = core::AlignedBuffer();  // before there are two
    LAMINA_ASSIGN(one, core::AlignedBuffer::allocate(bytes));
    return one.data();
  };
  const core::Status status = pack_each(pool, progress, memory, [&](std::span<const std::byte> bytes) {
    return writer.add(std::move(keys[next++]), bytes);
  });
  for (const auto& linear : linears_) linear->adopt(nullptr);
  LAMINA_CHECK_OK(status);
  return writer.commit(files_.stamp(), files_.checksum());
}

}  // namespace lamina::layers
