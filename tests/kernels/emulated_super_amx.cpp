#include "emulated_amx.h"

#if defined(__AVX512VNNI__)
#include "emulated_tiles.h"
#include "kernels/cpu/linear_super_amx.h"

namespace lamina::kernels {
namespace {

constexpr std::array kRows = super_rows([]<class Codec>(std::string_view codec) {
  using Kernel = SuperTiles<testing::EmulatedTiles, Codec>;
  return LinearVariant{codec, core::Isa::kAmxInt8, InputForm::kInt8Super, run_tiles<Kernel>,
                       tiles_scratch_bytes<Kernel>};
});

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
