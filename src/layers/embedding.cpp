#include "layers/embedding.h"

#include "codec/codec.h"
#include "kernels/activation.h"

namespace lamina::layers {

core::Result<Embedding> Embedding::make(Record record, Weights& weights) {
  Embedding embedding;
  LAMINA_ASSIGN(embedding.name_, record.text("weight"));
  LAMINA_ASSIGN(const int64_t hidden, record.size("hidden"));
  LAMINA_ASSIGN(const double scale, record.number("scale"));
  embedding.scale_ = static_cast<float>(scale);
  LAMINA_CHECK_OK(record.done());
  LAMINA_ASSIGN(embedding.table_, weights.table(embedding.name_, hidden));
  return embedding;
}

void Embedding::look_up(std::span<const int32_t> tokens, float* out) const {
  const auto decode = codec::codec_of(*table_.format)->decode;
  for (const int32_t token : tokens) {
    decode(table_.row(token), hidden(), out);
    if (scale_ != 1) kernels::scale(out, scale_, hidden(), out);
    out += hidden();
  }
}

}  // namespace lamina::layers
