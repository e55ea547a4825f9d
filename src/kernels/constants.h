#pragma once

namespace lamina::kernels {

// Polynomials: weighted minimax fits, rounded to float32. Errors are those of the polynomial alone.

inline constexpr float kExpHigh = 88.0F;
inline constexpr float kExpLow = -87.0F;
inline constexpr float kLog2e = 1.44269504F;
inline constexpr float kRoundMagic = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer in the low bits
inline constexpr float kLn2High = 0.693359375F;    // 9 bits, so n * kLn2High is exact
inline constexpr float kLn2Low = -2.12194440e-4F;
/// (e^r - 1 - r) / r^2 on |r| <= ln(2)/2, ascending powers; 2^-28 of e^r.
inline constexpr float kExp[5] = {0.49999994F, 0.166665211F, 0.041668389F, 0.00836874545F, 0.00138145394F};

inline constexpr float kTanhSwitch = 0.625F;
/// (tanh(x)/x - 1) / x^2 in x^2 on |x| <= 0.625; 2^-26 of tanh(x).
inline constexpr float kTanh[5] = {-0.333332807F, 0.133314416F, -0.0537397154F, 0.020639088F, -0.00570498733F};

inline constexpr float kInverseSqrt2 = 0.707106781F;
/// erf(z) / (2z) in z^2 on |z| <= 1; 2^-24 of erf(z).
inline constexpr float kErf[6] = {0.564189553F,   -0.188061625F,  0.0564009026F,
                                  -0.0133556584F, 0.00245877868F, -0.000281572196F};
inline constexpr float kTailClamp = 4.0F;
/// -ln(exp(z^2) erfc(z)) on 1 <= z <= 4; 2^-26 of erfc(1) once in the exponent.
inline constexpr float kTail[7] = {0.000353719312F, 1.12704003F,    -0.361774325F,   0.103037372F,
                                   -0.0218053181F,  0.00293960748F, -0.000185574027F};

inline constexpr float kGeluLinear = 1.59576912F;   // 2 sqrt(2/pi)
inline constexpr float kGeluCubic = 0.0713548162F;  // 0.044715 * 2 sqrt(2/pi)
inline constexpr float kGeluQuick = 1.702F;

}  // namespace lamina::kernels
