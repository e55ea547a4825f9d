#include "kernels/linear_pack.h"

namespace lamina::kernels {

namespace {

/// Writable address of a plane that a view of `packed` names.
std::byte* at(std::byte* packed, const std::byte* part) {
  return packed + (part - packed);
}

/// Fifth bits of 32 inputs, bit i of bits[output] is input i: a plane of 8 groups with 4 bits per output.
void put_bits(const std::array<uint32_t, kPanel>& bits, std::byte* plane) {
  constexpr uint32_t kLow = 0x0f0f0f0fU;
  for (size_t pair = 0; pair < kPanel / 2; ++pair) {
    const uint32_t first = bits[2 * pair];
    const uint32_t second = bits[2 * pair + 1];
    const uint32_t even = (first & kLow) | (second & kLow) << 4;
    const uint32_t odd = (first >> 4 & kLow) | (second & ~kLow);
    for (size_t j = 0; j < 4; ++j) {
      plane[16 * j + pair] = static_cast<std::byte>(even >> (8 * j));
      plane[16 * j + 8 + pair] = static_cast<std::byte>(odd >> (8 * j));
    }
  }
}

/// Bit j of byte i becomes bit i of byte j.
uint64_t transpose_bits(uint64_t x) {
  uint64_t t = (x ^ x >> 7) & 0x00aa00aa00aa00aaULL;
  x ^= t ^ t << 7;
  t = (x ^ x >> 14) & 0x0000cccc0000ccccULL;
  x ^= t ^ t << 14;
  t = (x ^ x >> 28) & 0x00000000f0f0f0f0ULL;
  return x ^ t ^ t << 28;
}

/// `word`: bytes of one output in two neighbouring groups that lie `step` bytes apart.
void put_words(std::byte* to, int64_t step, uint64_t word) {
  store_as(to, 0, static_cast<uint32_t>(word));
  store_as(to + step, 0, static_cast<uint32_t>(word >> 32));
}

/// 32 file bytes hold two sub-blocks of 32 inputs, one in the low nibbles and one in the high ones.
void put_nibbles(const std::byte* from, std::byte* first, std::byte* second) {
  constexpr uint64_t kLow = 0x0f0f0f0f0f0f0f0fULL;
  for (int64_t half = 0; half < 2; ++half) {
    const auto a = load_as<uint64_t>(from, half);
    const auto b = load_as<uint64_t>(from, half + 2);
    put_words(first + 128 * half, 64, (a & kLow) | (b & kLow) << 4);
    put_words(second + 128 * half, 64, (a >> 4 & kLow) | (b & ~kLow));
  }
}

/// 32 file bytes hold four sub-blocks of 32 inputs, two bits each.
void put_pairs(const std::byte* from, std::byte* to) {
  constexpr uint64_t kLow = 0x0303030303030303ULL;
  for (int64_t part = 0; part < 4; ++part) {
    uint64_t word = 0;
    for (int64_t j = 0; j < 4; ++j) word |= (load_as<uint64_t>(from, j) >> (2 * part) & kLow) << (2 * j);
    put_words(to + 128 * part, 64, word);
  }
}

using SubBits = std::array<std::array<uint32_t, kPanel>, 8>;

/// 32 file bytes hold the single bits of eight sub-blocks.
void read_bits(const std::byte* from, size_t output, SubBits& bits) {
  std::array<uint64_t, 4> eight;  // byte s: eight inputs of sub-block s
  for (size_t j = 0; j < 4; ++j) eight[j] = transpose_bits(load_as<uint64_t>(from, static_cast<int64_t>(j)));
  for (size_t s = 0; s < 8; ++s) {
    uint32_t word = 0;
    for (size_t j = 0; j < 4; ++j) word |= static_cast<uint32_t>(eight[j] >> (8 * s) & 0xff) << (8 * j);
    bits[s][output] = word;
  }
}

/// Sixteen 6-bit entries: low nibbles of entries 2j and 2j + 1 share a byte, high pairs of four do.
void put_six(const std::array<uint8_t, 16>& entries, std::byte* to) {
  for (size_t j = 0; j < 8; ++j) {
    to[j * kPanel] = static_cast<std::byte>((entries[2 * j] & 15) | (entries[2 * j + 1] & 15) << 4);
  }
  for (size_t j = 0; j < 4; ++j) {
    int high = 0;
    for (size_t i = 0; i < 4; ++i) high |= entries[4 * j + i] >> 4 << (2 * i);
    to[128 + j * kPanel] = static_cast<std::byte>(high);
  }
}

void put_bytes(const std::byte* from, std::byte* to) {
  for (int64_t s = 0; s < 16; ++s) to[s * kPanel] = from[s];
}

/// `kBits` per number; the block begins with the scale (in mxfp4 one byte) and, if any, the minimum and the fifth bits.
template <int kBits, bool kMinimum, int64_t kScale = 2>
void pack_blocks(const PanelFormat& format, const PanelRows& rows, std::byte* packed) {
  constexpr int64_t kHead = kMinimum ? 4 : kScale;
  constexpr int64_t kQuants = kHead + (kBits == 5 ? 4 : 0);
  const int64_t blocks = rows.inputs / 32;
  for (int64_t b = 0; b < blocks; ++b) {
    const BlockChunk chunk = block_chunk(format, rows.inputs, packed, b / 8);
    const int64_t scales = b % 8 * kPanel;
    std::byte* low = at(packed, chunk.low) + b % 8 * format.low_bytes();
    std::array<uint32_t, kPanel> bits{};
    for (int64_t o = 0; o < rows.count; ++o) {
      const std::byte* block = rows.data + o * rows.row_bytes + b * format.block_bytes;
      const uint16_t scale = kScale == 1 ? mxfp4_scale(block) : load_as<uint16_t>(block);
      store_as(at(packed, chunk.scale), scales + o, scale);
      if (kMinimum) store_as(at(packed, chunk.minimum), scales + o, load_as<uint16_t>(block, 1));
      if (kBits == 5) bits[static_cast<size_t>(o)] = load_as<uint32_t>(block + kHead);
      for (int64_t j = 0; j < (kBits == 8 ? 4 : 2); ++j) {
        const auto word = load_as<uint64_t>(block + kQuants, j);
        put_words(low + 128 * j + 4 * o, 64, kBits == 8 ? word ^ 0x8080808080808080ULL : word);
      }
    }
    if (kBits == 5) put_bits(bits, at(packed, chunk.high) + b % 8 * format.high_bytes());
  }
}

/// One output's 256 inputs. `scale` and the planes already point at this output.
struct SuperTarget {
  std::byte* low = nullptr;
  std::byte* high = nullptr;
  std::byte* scale = nullptr;
  std::byte* book = nullptr;
  SubBits* bits = nullptr;
  size_t output = 0;
};

template <bool kFive>
void put_q45_k(const std::byte* block, const SuperTarget& to) {
  SuperValues values;
  read_pairs6(block + 4, values);
  for (size_t s = 1; s < 16; s += 2) values.scale[s] = values.minimum[s];
  put_six(values.scale, to.scale);
  const std::byte* quants = block + (kFive ? 48 : 16);
  for (int64_t j = 0; j < 4; ++j) put_nibbles(quants + 32 * j, to.low + 512 * j, to.low + 512 * j + 256);
  if (kFive) read_bits(block + 16, to.output, *to.bits);
}

void put_q6_k(const std::byte* block, const SuperTarget& to) {
  put_bytes(block + 192, to.scale);
  for (int64_t h = 0; h < 2; ++h) {
    std::byte* low = to.low + 1024 * h;
    put_nibbles(block + 64 * h, low, low + 512);
    put_nibbles(block + 64 * h + 32, low + 256, low + 768);
    put_pairs(block + 128 + 32 * h, to.high + 512 * h);
  }
}

void put_q2_k(const std::byte* block, const SuperTarget& to) {
  put_bytes(block, to.scale);
  for (int64_t h = 0; h < 2; ++h) put_pairs(block + 16 + 32 * h, to.low + 512 * h);
}

void put_q3_k(const std::byte* block, const SuperTarget& to) {
  SuperValues values;
  read_scales_q3_k(block + 96, values);
  put_six(values.scale, to.scale);
  for (int64_t h = 0; h < 2; ++h) put_pairs(block + 32 + 32 * h, to.low + 512 * h);
  read_bits(block, to.output, *to.bits);
}

void put_cb2(const std::byte* block, const SuperTarget& to) {
  std::memcpy(to.book, block + 2, 4);
  for (int64_t s = 0; s < 8; ++s) to.scale[s * kPanel] = block[6 + s];
  for (int64_t h = 0; h < 2; ++h) put_pairs(block + 14 + 32 * h, to.low + 512 * h);
}

void put_iq4_xs(const std::byte* block, const SuperTarget& to) {
  for (int64_t g = 0; g < 8; ++g) {
    to.scale[g * kPanel] = static_cast<std::byte>(iq4_xs_scale(block, g));
    for (int64_t j = 0; j < 2; ++j) {
      put_words(to.low + 256 * g + 128 * j, 64, load_as<uint64_t>(block + 8 + 16 * g, j));
    }
  }
}

/// kD, kDmin: where the block has its float16 factors; kBits: whether Put fills single bits.
template <auto Put, int64_t kD, int64_t kDmin, bool kBits>
void pack_supers(const PanelFormat& format, const PanelRows& rows, std::byte* packed) {
  for (int64_t b = 0; b < rows.inputs / 256; ++b) {
    const SuperUnit unit = super_unit(format, packed, b);
    SubBits bits{};
    for (int64_t o = 0; o < rows.count; ++o) {
      const std::byte* block = rows.data + o * rows.row_bytes + b * format.block_bytes;
      Put(block, {.low = at(packed, unit.low) + 4 * o,
                  .high = at(packed, unit.high) + 4 * o,
                  .scale = at(packed, unit.scale) + o,
                  .book = at(packed, unit.book) + 4 * o,
                  .bits = &bits,
                  .output = static_cast<size_t>(o)});
      store_as(at(packed, unit.d), o, load_as<uint16_t>(block + kD));
      if (kDmin >= 0) store_as(at(packed, unit.dmin), o, load_as<uint16_t>(block + kDmin));
    }
    if (!kBits) continue;
    for (size_t s = 0; s < 8; ++s) put_bits(bits[s], at(packed, unit.high) + 64 * static_cast<int64_t>(s));
  }
}

/// Indices, their upper bits, signs and scales each go to a plane of their own.
void pack_points(const PanelFormat& format, const PanelRows& rows, std::byte* packed) {
  const PointGrid& grid = *format.grid;
  for (int64_t b = 0; b < rows.inputs / 256; ++b) {
    const SuperUnit unit = super_unit(format, packed, b);
    std::byte* low = at(packed, unit.low);
    std::byte* high = at(packed, unit.high);
    std::byte* scale = at(packed, unit.scale);
    std::array<std::array<uint32_t, kPanel>, 8> signs{};
    std::memset(high, 0, static_cast<size_t>(format.high_bytes()));
    std::memset(scale, 0, static_cast<size_t>(scale_form_bytes(format.scales)));
    for (int64_t o = 0; o < rows.count; ++o) {
      const std::byte* block = rows.data + o * rows.row_bytes + b * format.block_bytes;
      PointBlock points;
      format.read_points(block, points);
      for (int64_t p = 0; p < grid.points(); ++p) {
        const uint16_t index = points.index[static_cast<size_t>(p)];
        low[p * kPanel + o] = static_cast<std::byte>(index);
        for (int64_t j = 0; j < grid.high; ++j)
          high[2 * (grid.high * p + j) + o / 8] |= static_cast<std::byte>((index >> (8 + j) & 1) << (o % 8));
      }
      for (size_t s = 0; s < 8; ++s) std::memcpy(&signs[s][static_cast<size_t>(o)], &points.signs[4 * s], 4);
      for (int64_t s = 0; s < scale_form_bytes(format.scales) / 8; ++s)
        scale[s / 2 * kPanel + o] |= static_cast<std::byte>(points.scale[static_cast<size_t>(s)] << (s % 2 * 4));
      store_as(at(packed, unit.d), o, load_as<uint16_t>(block));
    }
    for (size_t s = 0; s < 8; ++s) put_bits(signs[s], at(packed, unit.signs) + 64 * static_cast<int64_t>(s));
  }
}

/// Two outputs' words of two 32-bit inputs become two inputs' words.
void transpose_words(std::array<uint64_t, 2>& words) {
  const uint64_t first = words[0];
  words[0] = (first & 0xffffffffU) | words[1] << 32;
  words[1] = first >> 32 | (words[1] & ~uint64_t{0xffffffffU});
}
/// Four outputs' words of four 16-bit inputs become four inputs' words.
void transpose_words(std::array<uint64_t, 4>& words) {
  constexpr uint64_t kEven = 0x0000ffff0000ffffULL;
  std::array<uint64_t, 2> even{};  // inputs 0 and 2
  std::array<uint64_t, 2> odd{};
  for (size_t i = 0; i < 2; ++i) {
    const uint64_t a = words[2 * i];
    const uint64_t b = words[2 * i + 1];
    even[i] = (a & kEven) | (b & kEven) << 16;
    odd[i] = (a >> 16 & kEven) | (b & ~kEven);
  }
  transpose_words(even);
  transpose_words(odd);
  words = {even[0], odd[0], even[1], odd[1]};
}

template <typename Number>
void pack_floats(const PanelFormat& /*format*/, const PanelRows& rows, std::byte* packed) {
  constexpr int64_t kWord = 8 / sizeof(Number);
  const int64_t words = rows.inputs / kWord;
  const int64_t outputs = rows.count / kWord * kWord;
  for (int64_t i = 0; i < words; ++i) {
    for (int64_t o = 0; o < outputs; o += kWord) {
      std::array<uint64_t, kWord> word{};
      const std::byte* from = rows.data + o * rows.row_bytes;
      for (size_t r = 0; r < kWord; ++r)
        word[r] = load_as<uint64_t>(from + static_cast<int64_t>(r) * rows.row_bytes, i);
      transpose_words(word);
      for (size_t r = 0; r < kWord; ++r) {
        store_as(packed + ((i * kWord + static_cast<int64_t>(r)) * kPanel + o) * static_cast<int64_t>(sizeof(Number)),
                 0, word[r]);
      }
    }
  }
  for (int64_t o = 0; o < rows.count; ++o) {  // what does not fill words
    const std::byte* row = rows.data + o * rows.row_bytes;
    for (int64_t k = o < outputs ? words * kWord : 0; k < rows.inputs; ++k) {
      store_as(packed, k * kPanel + o, load_as<Number>(row, k));
    }
  }
}

void pack_pairs(const PanelFormat& /*format*/, const PanelRows& rows, std::byte* packed) {
  const int64_t pairs = rows.inputs / 2;
  for (int64_t o = 0; o < rows.count; ++o) {
    const std::byte* row = rows.data + o * rows.row_bytes;
    for (int64_t p = 0; p < pairs; ++p) store_as(packed, p * kPanel + o, load_as<uint32_t>(row, p));
    if (rows.inputs % 2 != 0) store_as(packed, pairs * kPanel + o, uint32_t{load_as<uint16_t>(row, 2 * pairs)});
  }
}

struct PackRow {
  std::string_view codec;
  PackFunction pack;
};
constexpr std::array kPackRows{
    PackRow{"f32", pack_floats<uint32_t>},
    PackRow{"f16", pack_floats<uint16_t>},
    PackRow{"bf16", pack_floats<uint16_t>},
    PackRow{"q8_0", pack_blocks<8, false>},
    PackRow{"q4_0", pack_blocks<4, false>},
    PackRow{"q4_1", pack_blocks<4, true>},
    PackRow{"q5_0", pack_blocks<5, false>},
    PackRow{"q5_1", pack_blocks<5, true>},
    PackRow{"iq4_nl", pack_blocks<4, false>},
    PackRow{"mxfp4", pack_blocks<4, false, 1>},
    PackRow{"q2_k", pack_supers<put_q2_k, 80, 82, false>},
    PackRow{"q3_k", pack_supers<put_q3_k, 108, -1, true>},
    PackRow{"q4_k", pack_supers<put_q45_k<false>, 0, 2, false>},
    PackRow{"q5_k", pack_supers<put_q45_k<true>, 0, 2, true>},
    PackRow{"q6_k", pack_supers<put_q6_k, 208, -1, false>},
    PackRow{"iq4_xs", pack_supers<put_iq4_xs, 0, -1, false>},
    PackRow{"cb2", pack_supers<put_cb2, 0, -1, false>},
};

}  // namespace

PackFunction find_pack(const PanelFormat& format) {
  if (format.kind == PanelKind::kPair) return pack_pairs;
  if (format.grid != nullptr) return pack_points;
  for (const PackRow& row : kPackRows) {
    if (row.codec == format.codec) return row.pack;
  }
  return nullptr;
}

}  // namespace lamina::kernels
