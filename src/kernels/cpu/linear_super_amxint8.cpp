#include "kernels/cpu/linear_rows_amx.h"
#include "kernels/cpu/linear_super_amx.h"

namespace lamina::kernels {

namespace {

constexpr std::array kRows = super_rows([]<class Codec>(std::string_view codec) {
  return tiles_row<SuperTiles<AmxTiles, Codec>, linear_super_avx512vnni>(codec, InputForm::kInt8Super);
});

}  // namespace

std::span<const LinearVariant> linear_super_amxint8() {
  return kRows;
}

}  // namespace lamina::kernels
