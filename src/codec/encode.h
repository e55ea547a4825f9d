#pragma once

#include <string>

#include "codec/codec.h"

namespace lamina::codec {

/// What an input that calibration never saw counts, as a share of the average: it is not worthless.
inline constexpr double kLeastShare = 1e-3;

/// Why a row could not be encoded.
struct RowFault {
  enum class Kind { kNone, kNotFinite, kTooLarge };
  Kind kind = Kind::kNone;
  int64_t index = 0;  ///< the number at fault
  float value = 0;

  /// "is nan; finite numbers expected", "is 1e+06, too large for f16".
  std::string what(const core::NumberFormat& format) const;
};

/// Encodes a row of `elements` numbers (whole blocks) and decodes it again into `decoded`; adds the squared differences
/// to `error`. A fault when a number is not finite, or is not once encoded. `importance`, unless null: what a squared
/// error in each number costs beside the others, for the formats that search (Codec::encode_weighted).
RowFault encode_row(const Codec& codec, const float* in, int64_t elements, std::byte* out, float* decoded,
                    double& error, const float* importance = nullptr);

}  // namespace lamina::codec
