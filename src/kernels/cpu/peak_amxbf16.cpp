#include "kernels/cpu/peak_tiles.h"

namespace lamina::kernels::cpu {

const TilePeak kPeakAmxBf16 = tile_row<Bf16TileUnit<AmxTiles>>(core::Isa::kAmxBf16);

}  // namespace lamina::kernels::cpu
