#include <array>

#include "kernels/cpu/linear_block_amx.h"
#include "kernels/cpu/linear_rows_amx.h"

namespace lamina::kernels {

namespace {

template <class Codec>
constexpr LinearVariant block_row(std::string_view codec) {
  return tiles_row<BlockTiles<AmxTiles, Codec>, linear_avx512vnni>(codec, InputForm::kInt8Block);
}

constexpr std::array kRows{
    block_row<Bytes8>("q8_0"), block_row<Nibbles0>("q4_0"), block_row<Nibbles1>("q4_1"), block_row<Fives0>("q5_0"),
    block_row<Fives1>("q5_1"), block_row<Iq4Nl>("iq4_nl"),  block_row<Mxfp4>("mxfp4"),
};

}  // namespace

std::span<const LinearVariant> linear_block_amxint8() {
  return kRows;
}

}  // namespace lamina::kernels
