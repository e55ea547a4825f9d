#include <array>

#include "kernels/cpu/linear_rows_amx.h"
#include "kernels/cpu/linear_super_amx.h"

namespace lamina::kernels {

namespace {

template <class Codec>
constexpr LinearVariant super_row(std::string_view codec) {
  return tiles_row<SuperTiles<AmxTiles, Codec>, linear_super_avx512vnni>(codec, InputForm::kInt8Super);
}

constexpr std::array kRows{
    super_row<Super2>("q2_k"), super_row<Super3>("q3_k"), super_row<Super4>("q4_k"),
    super_row<Super5>("q5_k"), super_row<Super6>("q6_k"), super_row<SuperIq4>("iq4_xs"),
};

}  // namespace

std::span<const LinearVariant> linear_super_amxint8() {
  return kRows;
}

}  // namespace lamina::kernels
