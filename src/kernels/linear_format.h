#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "kernels/linear.h"
#include "kernels/linear_points.h"

/// How each codec with kernels of its own lies in a panel. Inside the folder only.
namespace lamina::kernels {

/// Inputs that a panel stores together, scales last ("chunk"); super-blocks have the same length.
inline constexpr int64_t kChunk = 256;

/// How a codec's numbers are cut into planes.
enum class PanelKind {
  kFloat,  ///< [input][16], 16 or 32 bits each
  kPair,   ///< [pair of inputs][16][2], bfloat16
  kBlock,  ///< blocks of 32 with a float16 scale and, in some, a float16 minimum
  kSuper,  ///< blocks of 256 with integer scales inside
};

/// One block of 32: w = scale * number(raw) + minimum.
struct BlockValues {
  std::array<uint8_t, 32> raw{};
  uint16_t scale = 0;    ///< float16 bits, or what widen_scale reads
  uint16_t minimum = 0;  ///< float16 bits
};

/// One block of 256: w = d * (scale[s] - scale_zero) * number(raw) - dmin * minimum[s], s = input / 16.
struct SuperValues {
  std::array<uint8_t, 256> raw{};
  std::array<uint8_t, 16> scale{};  ///< int8 bits when the format has signed scales
  std::array<uint8_t, 16> minimum{};
  std::array<int8_t, 4> book{};  ///< what raw numbers stand for, in formats with books
  uint16_t d = 0;
  uint16_t dmin = 0;
};

/// How the integer scales of a super-block are stored.
enum class ScaleForm {
  kNone,
  kPair6,    ///< 6-bit scale and minimum per 32: 128 bytes of low nibbles, 64 of high bits
  kSigned8,  ///< int8 per 16
  kPair4,    ///< 4-bit scale and minimum per 16 in one byte
  kSix,      ///< 6-bit scale per 16: 128 bytes of low nibbles, 64 of high bits
  kWide8,    ///< int8 per 32
  kOdd32,    ///< odd numbers up to 31 per 32, as nibbles of their halves: 64 bytes
  kOdd16,    ///< the same per 16: 128 bytes
  kSigned4,  ///< from -8 to 7 per 16, as nibbles: 128 bytes
};

float half_to_float(uint16_t bits);

struct PanelFormat {
  std::string_view codec;
  PanelKind kind = PanelKind::kFloat;
  InputForm activation = InputForm::kFloat;
  int64_t block = 1;               ///< inputs per block of the file
  int64_t block_bytes = 0;         ///< bytes of one output's block in the file
  int64_t panel_bytes = 0;         ///< the same in a panel
  int low_bits = 0;                ///< 8: bytes; 4: nibble plane; 2: plane of 2 bits
  int high_bits = 0;               ///< further bits per number, in a plane of their own
  int zero = 0;                    ///< subtracted from the raw number
  const int8_t* values = nullptr;  ///< what the raw numbers stand for, instead of the difference
  bool minimum = false;            ///< blocks carry a minimum
  ScaleForm scales = ScaleForm::kNone;
  int scale_zero = 0;
  bool books = false;                                   ///< two bits index four numbers of the block's own, instead
  const PointGrid* grid = nullptr;                      ///< the numbers are points of a grid
  float factor = 1.0F;                                  ///< kSuper: what the stored d is multiplied by, a power of two
  float (*widen)(uint32_t bits) = nullptr;              ///< kFloat, kPair: the stored bits as float32
  float (*widen_scale)(uint16_t bits) = half_to_float;  ///< kBlock: a block's scale
  void (*read_block)(const std::byte* block, BlockValues& out) = nullptr;
  void (*read_super)(const std::byte* block, SuperValues& out) = nullptr;
  void (*read_points)(const std::byte* block, PointBlock& out) = nullptr;

  /// Inputs of a row in a panel: kPair adds a zero to an odd count.
  int64_t padded(int64_t inputs) const { return kind == PanelKind::kPair ? (inputs + 1) / 2 * 2 : inputs; }
  int number(int raw) const { return values != nullptr ? values[raw] : raw - zero; }
  int64_t low_bytes() const { return grid != nullptr ? kPanel * grid->points() : kPanel * block * low_bits / 8; }
  int64_t high_bytes() const {
    return grid != nullptr ? kPanel / 8 * grid->points() * grid->high : kPanel * block * high_bits / 8;
  }
  int64_t sign_bytes() const { return grid != nullptr ? kPanel * block / 8 : 0; }
};

/// The format of a codec, or null when only the generic path knows it. `exact`: only one that reads float32.
const PanelFormat* find_panel_format(std::string_view codec, bool exact = false);
std::span<const PanelFormat> panel_formats();

/// Reads and writes of unaligned numbers.
template <typename T>
static inline T load_as(const std::byte* from, int64_t index = 0) {
  T value;
  std::memcpy(&value, from + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}
template <typename T>
static inline void store_as(std::byte* to, int64_t index, T value) {
  std::memcpy(to + index * static_cast<int64_t>(sizeof(T)), &value, sizeof(T));
}

/// Where a chunk of a kBlock panel has its planes.
struct BlockChunk {
  const std::byte* low = nullptr;      ///< low_bytes per block
  const std::byte* high = nullptr;     ///< high_bytes per block
  const std::byte* scale = nullptr;    ///< 16 float16 per block
  const std::byte* minimum = nullptr;  ///< 16 float16 per block
  int64_t blocks = 0;
};

/// Chunk `index` of a panel with `inputs` inputs.
static inline BlockChunk block_chunk(const PanelFormat& format, int64_t inputs, const std::byte* panel, int64_t index) {
  BlockChunk chunk;
  const int64_t left = (inputs - index * kChunk) / 32;
  chunk.blocks = left < kChunk / 32 ? left : kChunk / 32;
  chunk.low = panel + index * (kChunk / 32) * kPanel * format.panel_bytes;
  chunk.high = chunk.low + chunk.blocks * format.low_bytes();
  chunk.scale = chunk.high + chunk.blocks * format.high_bytes();
  chunk.minimum = chunk.scale + chunk.blocks * 2 * kPanel;
  return chunk;
}

/// Raw number `input` (0..31) of `output` (0..15) in block `block` of a chunk.
uint8_t block_raw(const PanelFormat& format, const BlockChunk& chunk, int64_t block, int64_t input, int64_t output);

/// Where one 256-block of a kSuper panel has its planes.
struct SuperUnit {
  const std::byte* low = nullptr;
  const std::byte* high = nullptr;
  const std::byte* signs = nullptr;  ///< of points: a plane of single bits
  const std::byte* scale = nullptr;
  const std::byte* d = nullptr;     ///< 16 float16
  const std::byte* book = nullptr;  ///< [16][4] int8, of formats with books
  const std::byte* dmin = nullptr;  ///< 16 float16, if the format has minimums
};
int64_t scale_form_bytes(ScaleForm form);
SuperUnit super_unit(const PanelFormat& format, const std::byte* panel, int64_t index);
uint8_t super_raw(const PanelFormat& format, const SuperUnit& unit, int64_t input, int64_t output);
/// What it stands for.
int super_number(const PanelFormat& format, const SuperUnit& unit, int64_t input, int64_t output);
/// Integer scale and minimum of sub-block `sub` (of 16 inputs), zero already subtracted.
int super_scale(const PanelFormat& format, const SuperUnit& unit, int64_t sub, int64_t output);
int super_minimum(const PanelFormat& format, const SuperUnit& unit, int64_t sub, int64_t output);

/// The integer scales (and minimums) of a block: q4_k and q5_k keep 6-bit pairs in 12 bytes, q3_k 6-bit scales.
void read_pairs6(const std::byte* from, SuperValues& out);
void read_scales_q3_k(const std::byte* from, SuperValues& out);
/// The power of two of an mxfp4 block for whole numbers (half of what the format says), as bfloat16 bits.
uint16_t mxfp4_scale(const std::byte* block);
/// The scale of a group of 32 in an iq4_xs block.
int8_t iq4_xs_scale(const std::byte* block, int64_t group);

}  // namespace lamina::kernels
