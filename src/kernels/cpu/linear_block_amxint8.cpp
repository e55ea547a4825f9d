#include "kernels/cpu/linear_block_amx.h"
#include "kernels/cpu/linear_rows_amx.h"

namespace lamina::kernels {

namespace {

constexpr std::array kRows = block_rows([]<class Codec>(std::string_view codec) {
  return tiles_row<BlockTiles<AmxTiles, Codec>, linear_avx512vnni>(codec, InputForm::kInt8Block);
});

}  // namespace

std::span<const LinearVariant> linear_block_amxint8() {
  return kRows;
}

}  // namespace lamina::kernels
