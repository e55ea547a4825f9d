#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

/// The functions of one number whose exact sequence of float32 operations all variants repeat. Plain IEEE operations
/// and std::fma only; constants in kernels/constants.h.
#include "kernels/constants.h"

namespace lamina::kernels::ref {

/// e^x: round x*log2(e) to n, degree 6 on the rest, scale by 2^n. 0 below -87, x above 88 counts as 88.
inline float exp(float x) {
  const float clamped = kExpHigh < x ? kExpHigh : x;
  const float t = std::fma(clamped, kLog2e, kRoundMagic);
  const float n = t - kRoundMagic;
  const float r = std::fma(n, -kLn2Low, std::fma(n, -kLn2High, clamped));
  float p = kExp[4];
  for (int i = 3; i >= 0; --i) p = std::fma(p, r, kExp[i]);
  p = std::fma(p, r * r, r) + 1.0F;
  const float power = std::bit_cast<float>((std::bit_cast<uint32_t>(t) << 23) + 0x3f800000U);
  return x < kExpLow ? 0.0F : p * power;
}

inline float sigmoid(float x) {
  return 1.0F / (1.0F + ref::exp(-x));
}

/// Odd polynomial below 0.625, else 1 - 2 / (exp(2|x|) + 1) with the sign of x.
inline float tanh(float x) {
  const float a = std::fabs(x);
  const float t = x * x;
  float p = kTanh[4];
  for (int i = 3; i >= 0; --i) p = std::fma(p, t, kTanh[i]);
  const float small = std::fma(p * t, x, x);
  const float large = std::copysign(1.0F - 2.0F / (ref::exp(a + a) + 1.0F), x);
  return a < kTanhSwitch ? small : large;
}

/// Normal distribution function, erfc(-x / sqrt 2) / 2: odd polynomial near 0, else exp(-z^2 - g(z)) / 2 as the tail.
inline float normal_cdf(float x) {
  const float z = x * kInverseSqrt2;
  const float a = std::fabs(z);
  const float t = z * z;
  float p = kErf[5];
  for (int i = 4; i >= 0; --i) p = std::fma(p, t, kErf[i]);
  const float near = std::fma(p, z, 0.5F);
  const float b = kTailClamp < a ? kTailClamp : a;
  float g = kTail[6];
  for (int i = 5; i >= 0; --i) g = std::fma(g, b, kTail[i]);
  const float tail = 0.5F * ref::exp(-(t + g));
  return a < 1.0F ? near : (z < 0.0F ? tail : 1.0F - tail);
}

/// x times the logistic form of (1 + tanh(u)) / 2, u = sqrt(2/pi) (x + 0.044715 x^3).
inline float gelu_tanh(float x) {
  const float u = x * std::fma(kGeluCubic, x * x, kGeluLinear);
  return x * ref::sigmoid(u);
}

/// Sum of 16 lanes: 8-4-2-1.
inline float fold16(const float* lanes) {
  float sums[16];
  for (int i = 0; i < 16; ++i) sums[i] = lanes[i];
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) sums[i] += sums[i + half];
  }
  return sums[0];
}

}  // namespace lamina::kernels::ref
