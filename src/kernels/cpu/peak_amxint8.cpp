#include "kernels/cpu/peak_tiles.h"

namespace lamina::kernels::cpu {

const TilePeak kPeakAmxInt8 = tile_row<Int8TileUnit<AmxTiles>>(core::Isa::kAmxInt8);

}  // namespace lamina::kernels::cpu
