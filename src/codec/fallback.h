#pragma once

#include <string>

#include "codec/codec.h"
#include "core/result.h"

namespace lamina::codec {

/// The codec that rows of some length can have.
struct RowCodec {
  const Codec* codec = nullptr;
  std::string note;  ///< empty when it is the one that was asked for
};

/// `wanted`, or where its blocks do not divide rows of `columns` numbers, the next larger format with blocks of 32, and
/// f16 where those do not either. kUnsupported: `wanted` has no encoder.
core::Result<RowCodec> codec_for_rows(const Codec& wanted, int64_t columns);

}  // namespace lamina::codec
