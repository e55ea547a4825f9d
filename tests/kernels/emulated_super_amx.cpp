#include <array>

#include "emulated_amx.h"

#if defined(__AVX512VNNI__)
#include "emulated_tiles.h"
#include "kernels/cpu/linear_super_amx.h"

namespace lamina::kernels {
namespace {

template <class Codec>
constexpr LinearVariant row(std::string_view codec) {
  using Kernel = SuperTiles<testing::EmulatedTiles, Codec>;
  return {codec, core::Isa::kAmxInt8, InputForm::kInt8Super, run_tiles<Kernel>, tiles_scratch_bytes<Kernel>};
}

constexpr std::array kRows{
    row<Super2>("q2_k"), row<Super3>("q3_k"), row<Super4>("q4_k"),
    row<Super5>("q5_k"), row<Super6>("q6_k"), row<SuperIq4>("iq4_xs"),
};

}  // namespace

std::span<const LinearVariant> testing::emulated_super_amx() {
  return kRows;
}

}  // namespace lamina::kernels
#else
std::span<const lamina::kernels::LinearVariant> lamina::kernels::testing::emulated_super_amx() {
  return {};
}
#endif
