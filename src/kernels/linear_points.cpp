#include "kernels/linear_points.h"

#include <cstring>

namespace lamina::kernels {

namespace {

template <class Block>
Block block_of(const std::byte* from) {
  Block block;
  std::memcpy(&block, from, sizeof(block));
  return block;
}

template <size_t kBytes>
void read_nibbles(const uint8_t (&bytes)[kBytes], PointBlock& out) {
  for (size_t i = 0; i < 2 * kBytes; ++i) out.scale[i] = bytes[i / 2] >> (i % 2 * 4) & 15;
}

/// Four times seven sign bits and a scale, for `group` of 32 weights.
void read_signs(const uint8_t* word_bytes, size_t group, PointBlock& out) {
  uint32_t word = 0;
  std::memcpy(&word, word_bytes, sizeof(word));
  out.scale[group] = static_cast<uint8_t>(word >> 28);
  for (size_t i = 0; i < 4; ++i)
    out.signs[4 * group + i] = static_cast<uint8_t>(codec::even_signs(word >> (7 * i) & 127U));
}

}  // namespace

void read_points_iq3_s(const std::byte* from, PointBlock& out) {
  const auto block = block_of<codec::BlockIq3S>(from);
  for (size_t i = 0; i < 64; ++i)
    out.index[i] = static_cast<uint16_t>(block.qs[i] | (block.qh[i / 8] >> (i % 8) & 1) << 8);
  std::memcpy(out.signs.data(), block.signs, sizeof(block.signs));
  read_nibbles(block.scales, out);
}

void read_points_iq3_xxs(const std::byte* from, PointBlock& out) {
  const auto block = block_of<codec::BlockIq3Xxs>(from);
  for (size_t i = 0; i < 64; ++i) out.index[i] = block.qs[i];
  for (size_t group = 0; group < 8; ++group) read_signs(block.words + 4 * group, group, out);
}

void read_points_iq2_s(const std::byte* from, PointBlock& out) {
  const auto block = block_of<codec::BlockIq2S>(from);
  for (size_t i = 0; i < 32; ++i)
    out.index[i] = static_cast<uint16_t>(block.qs[i] | (block.qh[i / 4] >> (i % 4 * 2) & 3) << 8);
  std::memcpy(out.signs.data(), block.signs, sizeof(block.signs));
  read_nibbles(block.scales, out);
}

void read_points_iq2_xs(const std::byte* from, PointBlock& out) {
  const auto block = block_of<codec::BlockIq2Xs>(from);
  for (size_t i = 0; i < 32; ++i) {
    out.index[i] = block.qs[i] & 511;
    out.signs[i] = static_cast<uint8_t>(codec::even_signs(block.qs[i] >> 9));
  }
  read_nibbles(block.scales, out);
}

void read_points_iq2_xxs(const std::byte* from, PointBlock& out) {
  const auto block = block_of<codec::BlockIq2Xxs>(from);
  for (size_t group = 0; group < 8; ++group) {
    for (size_t i = 0; i < 4; ++i) out.index[4 * group + i] = block.qs[8 * group + i];
    read_signs(block.qs + 8 * group + 4, group, out);
  }
}

}  // namespace lamina::kernels
