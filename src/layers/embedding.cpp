#include "layers/embedding.h"

#include <algorithm>
#include <array>

#include "codec/codec.h"
#include "kernels/activation.h"

namespace lamina::layers {

core::Result<Embedding> Embedding::make(Record record, Weights& weights) {
  Embedding embedding;
  LAMINA_ASSIGN(embedding.name_, record.text("weight"));
  LAMINA_ASSIGN(const int64_t hidden, record.size("hidden"));
  LAMINA_ASSIGN(const double scale, record.number("scale"));
  embedding.scale_ = static_cast<float>(scale);
  LAMINA_ASSIGN(std::optional<Record> positions, record.optional_child("positions"));
  LAMINA_CHECK_OK(record.done());
  if (positions) {
    LAMINA_ASSIGN(const std::string name, positions->text("weight"));
    LAMINA_CHECK_OK(positions->done());
    LAMINA_ASSIGN(embedding.positions_, weights.table(name, hidden));
  }
  LAMINA_ASSIGN(embedding.table_, weights.table(embedding.name_, hidden));
  return embedding;
}

void Embedding::look_up(std::span<const int32_t> tokens, std::span<const int32_t> positions, float* out) const {
  constexpr int64_t kPiece = 256;  // a multiple of every codec's block
  const auto decode = codec::codec_of(*table_.format)->decode;
  for (size_t i = 0; i < tokens.size(); ++i, out += hidden()) {
    decode(table_.row(tokens[i]), hidden(), out);
    if (scale_ != 1) kernels::scale(out, scale_, hidden(), out);
    if (!positions_) continue;
    std::array<float, kPiece> piece;
    const std::byte* row = positions_->row(positions[i]);
    for (int64_t at = 0; at < hidden(); at += kPiece) {
      const int64_t size = std::min(kPiece, hidden() - at);
      codec::codec_of(*positions_->format)->decode(row + positions_->format->row_bytes(at), size, piece.data());
      kernels::add(out + at, piece.data(), size, out + at);
    }
  }
}

}  // namespace lamina::layers
