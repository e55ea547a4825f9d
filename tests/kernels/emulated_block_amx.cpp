#include <array>

#include "emulated_amx.h"

#if defined(__AVX512VNNI__)
#include "emulated_tiles.h"
#include "kernels/cpu/linear_block_amx.h"

namespace lamina::kernels {
namespace {

template <class Codec>
constexpr LinearVariant row(std::string_view codec) {
  using Kernel = BlockTiles<testing::EmulatedTiles, Codec>;
  return {codec, core::Isa::kAmxInt8, InputForm::kInt8Block, run_tiles<Kernel>, tiles_scratch_bytes<Kernel>};
}

constexpr std::array kRows{
    row<Bytes8>("q8_0"), row<Nibbles0>("q4_0"), row<Nibbles1>("q4_1"), row<Fives0>("q5_0"),
    row<Fives1>("q5_1"), row<Iq4Nl>("iq4_nl"),  row<Mxfp4>("mxfp4"),
};

}  // namespace

std::span<const LinearVariant> testing::emulated_block_amx() {
  return kRows;
}

}  // namespace lamina::kernels
#else
std::span<const lamina::kernels::LinearVariant> lamina::kernels::testing::emulated_block_amx() {
  return {};
}
#endif
