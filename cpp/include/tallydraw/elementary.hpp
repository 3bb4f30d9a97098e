// Our own log and exp: + - * / and bit moves only, so the same bits from every compiler, library and vector width.
// Largest error met in 2 * 10^8 arguments, random, structured and at the edges: log 0.68 ulp, exp 0.68 ulp, exp where
// the result is subnormal 0.79 ulp.
// Every expression below fixes its order of rounding (no contraction, no re-association); the Numba twin repeats it.
//
// log: x = 2^k m, m in [sqrt(1/2), sqrt(2)), f = m - 1 (exact), s = f / (2 + f).
//      From log m = 2 artanh s and 2 s = f - s f = f - f^2/2 + s f^2/2,
//        log m = f - f^2/2 + s (f^2/2 + R),  R = (2 artanh(s) - 2 s) / s,
//      the decomposition of K. C. Ng (fdlibm, 1993): f is exact and every later term smaller. Here
//      k log 2 + f - f^2/2 is kept as an unrounded pair (Dekker 1971), so that little but the last sum rounds.
// exp: x = n log 2 + r, |r| <= log(2)/2, exp x = 2^n (1 + r + r^2 Q(r)), with 1 + r again a pair, and r itself with its
//      rounding error. 2^n is applied in two exact factors: overflow and gradual underflow round once more, rightly.
//
// R / s^2 and Q are minimax in relative error (Remez exchange in 60 digits on [0, (3 - sqrt 8)^2] in s^2 and on
// [-log(2)/2, log(2)/2] in r; errors 2^-58.2 and 2^-58.4), each coefficient then rounded to float64.
#pragma once

#include <cstdint>
#include <cstring>

#include "tallydraw/attributes.hpp"
#include "tallydraw/views.hpp"

namespace tallydraw::TALLYDRAW_ISA {

inline std::uint64_t bits_of(double x) noexcept {
  std::uint64_t u;
  std::memcpy(&u, &x, sizeof u);
  return u;
}

inline double double_of(std::uint64_t u) noexcept {
  double x;
  std::memcpy(&x, &u, sizeof x);
  return x;
}

namespace elementary {

/// a where c, else b: bit masks, since compilers turn no floating ?: into vector code where a trap might differ.
inline double select(bool c, double a, double b) noexcept {
  const std::uint64_t mask = 0 - static_cast<std::uint64_t>(c);
  return double_of((bits_of(a) & mask) | (bits_of(b) & ~mask));
}

constexpr std::uint64_t infinity_bits = 0x7FF0000000000000;
constexpr std::uint64_t nan_bits = 0x7FF8000000000000;
constexpr std::uint64_t two52_bits = 0x4330000000000000;  // 2^52: with an integer below 2^52 or-ed in, 2^52 + integer
constexpr double two52 = 4503599627370496.0;

// log 2 = high + low; 21 bits in high, so that k * high is exact for |k| <= 2^32.
constexpr double log2_high = 0x1.62e43p-1;
constexpr double log2_low = -0x1.05c610ca86c39p-29;

/// x = 2^k (1 + f) for x > 0, finite; any other x gives something finite and harmless.
struct parts {
  double k;
  double f;
};

inline parts split(double x) noexcept {
  const std::uint64_t u = bits_of(x);
  // A subnormal is its own bits times 2^-1074: made normal without arithmetic on it.
  const bool tiny = u < 0x0010000000000000;
  const std::uint64_t v = bits_of(select(tiny, double_of(u | two52_bits) - two52, x));
  const double bias = select(tiny, two52 + (1023 + 1074), two52 + 1023);
  // Adding 1 - sqrt(1/2), as bits, carries into the exponent exactly where m >= sqrt(2).
  const std::uint64_t t = v + (0x3FF0000000000000 - 0x3FE6A09E667F3BCD);
  const double m = double_of((t & 0x000FFFFFFFFFFFFF) + 0x3FE6A09E667F3BCD);
  return {double_of((t >> 52) | two52_bits) - bias, m - 1.0};
}

/// The unrounded sum high + low.
struct pair {
  double high;
  double low;
};

/// a + b, exact where |a| >= |b| or a = 0.
inline pair fast_sum(double a, double b) noexcept {
  const double high = a + b;
  return {high, (a - high) + b};
}

/// (head + k log2_low) + (log(1 + f) - f), head being k log2_high + f.
inline double log_finish(pair head, double k, double f) noexcept {
  const double s = f / (2.0 + f);
  const double z = s * s;
  double r = 0x1.0c05b50f790bfp-3;
  r = 0x1.0fbe5e91f30d8p-3 + z * r;
  r = 0x1.3b1c3796d992ap-3 + z * r;
  r = 0x1.745cf8f913e58p-3 + z * r;
  r = 0x1.c71c720177545p-3 + z * r;
  r = 0x1.2492492476b9cp-2 + z * r;
  r = 0x1.9999999999a38p-2 + z * r;
  r = 0x1.5555555555555p-1 + z * r;
  // f^2/2, most of it exactly: the square of 26 leading bits.
  const double f_high = double_of(bits_of(f) & 0xFFFFFFFFF8000000);
  const double half_high = 0.5 * (f_high * f_high);
  const double half_low = 0.5 * ((f - f_high) * (f + f_high));
  const double tail = s * ((half_high + half_low) + z * r) - half_low;
  const pair sum = fast_sum(head.high, -half_high);
  return sum.high + (((sum.low + head.low) + k * log2_low) + tail);
}

/// y for 0 < x < inf; inf for inf, -inf for 0, NaN for the rest.
inline double log_special(double x, double y) noexcept {
  const double infinity = double_of(infinity_bits);
  const double low = select(x == 0.0, -infinity, double_of(nan_bits));
  return select(x > 0.0, select(x < infinity, y, infinity), low);
}

}  // namespace elementary

/// Natural logarithm; log 0 = -inf, log of a negative number or NaN = NaN.
inline double log(double x) noexcept {
  using namespace elementary;
  const parts p = split(x);
  return log_special(x, log_finish(fast_sum(p.k * log2_high, p.f), p.k, p.f));
}

/// log(m * 2^e), also where the product is not representable; the bits of log(m * 2^e) where it is. |e| < 2^53, m >= 0.
inline double log_scaled(double m, std::int64_t e) noexcept {
  using namespace elementary;
  const parts p = split(m);
  const double k = p.k + static_cast<double>(e);
  // k = k1 + k0, k1 a multiple of 2^32: both exact times log2_high.
  const double k1 = (k + 0x1.8p84) - 0x1.8p84;
  const double k0 = k - k1;
  const pair scale = fast_sum(k1 * log2_high, k0 * log2_high);
  const pair sum = fast_sum(scale.high, p.f);
  return log_special(m, log_finish({sum.high, sum.low + scale.low}, k, p.f));
}

/// Exponential; 0 below about -745.13, inf above about 709.78, NaN for NaN.
inline double exp(double x) noexcept {
  using namespace elementary;
  const double y = select(x > 710.0, 710.0, select(x < -746.0, -746.0, x));
  // Adding 1.5 * 2^52 rounds to the nearest integer n and leaves it in the low bits.
  const double shifted = y * 0x1.71547652b82fep+0 + 0x1.8p52;
  const double n = shifted - 0x1.8p52;
  const double a = y - n * log2_high;  // exact
  const double b = n * log2_low;
  const double r = a - b;
  const double r_rest = (a - r) - b;  // what rounding r took away
  double q = 0x1.1f19f3ef24508p-29;
  q = 0x1.af4db8c3be709p-26 + r * q;
  q = 0x1.27e510dabd6b3p-22 + r * q;
  q = 0x1.71de024b3455ap-19 + r * q;
  q = 0x1.a01a0190621d2p-16 + r * q;
  q = 0x1.a01a01abdf052p-13 + r * q;
  q = 0x1.6c16c16c1a074p-10 + r * q;
  q = 0x1.11111111100eep-7 + r * q;
  q = 0x1.555555555554ep-5 + r * q;
  q = 0x1.5555555555557p-3 + r * q;
  q = 0.5 + r * q;
  const pair sum = fast_sum(1.0, r);
  const double m = sum.high + (sum.low + (r_rest + (r * r) * q));
  // n + 2046 in [970, 3070], halved: two exponents in the normal range.
  const std::uint64_t e = bits_of(shifted) - (bits_of(0x1.8p52) - 2046);
  const std::uint64_t half = e >> 1;
  const double value = (m * double_of(half << 52)) * double_of((e - half) << 52);
  return select(x == x, value, double_of(nan_bits));
}

/// out[i] = log x[i]; out may be x. On its own, so that compilers make vectors of it wherever it is called.
TALLYDRAW_APART inline void log(const double* x, index n, double* out) {
  for (index i = 0; i < n; ++i) out[i] = log(x[i]);
}

/// out[i] = exp x[i]; out may be x.
inline void exp(const double* x, index n, double* out) {
  for (index i = 0; i < n; ++i) out[i] = exp(x[i]);
}

namespace elementary {

/// All bits where 1 + t is so near one that near_divergence(t) is exact enough, |t| < 1/16, or none. In integers: of
/// comparisons of floats compilers make no vectors where a trap might differ.
inline std::uint64_t is_near_one(double t) noexcept {
  constexpr std::uint64_t sign = 0x8000000000000000, one_16th = 0x3FB0000000000000;
  return 0 - static_cast<std::uint64_t>((bits_of(t) & ~sign) < one_16th);
}

/// (1 + t) log(1 + t) - t = t^2 (1/2 - t/6 + t^2/12 - …), |t| < 1/16: the coefficient of t^n is
/// (-1)^n / ((n + 1) (n + 2)).
inline double near_divergence(double t) noexcept {
  double series = -1.0 / 210;
  series = 1.0 / 182 + t * series;
  series = -1.0 / 156 + t * series;
  series = 1.0 / 132 + t * series;
  series = -1.0 / 110 + t * series;
  series = 1.0 / 90 + t * series;
  series = -1.0 / 72 + t * series;
  series = 1.0 / 56 + t * series;
  series = -1.0 / 42 + t * series;
  series = 1.0 / 30 + t * series;
  series = -1.0 / 20 + t * series;
  series = 1.0 / 12 + t * series;
  series = -1.0 / 6 + t * series;
  series = 1.0 / 2 + t * series;
  return t * t * series;
}

}  // namespace elementary

/// The terms p log(p / q) - p + q = q ((1 + t) log(1 + t) - t), t = p / q - 1, of probabilities: by a series where t is
/// small.
inline void divergence_terms(const double* p, const double* q, const double* log_q, index n, double* out) {
  using namespace elementary;
  for (index i = 0; i < n; ++i) {
    const double t = (p[i] - q[i]) / q[i];
    const std::uint64_t near = is_near_one(t);
    const double series = near_divergence(double_of(bits_of(t) & near));
    // An impossible category of both is near nothing, and adds nothing.
    const double log_p = log(p[i]);
    const double surprise = select(log_p < 0.0, log_p, 0.0) - log_q[i];
    const double logs = select(p[i] > 0.0, surprise, 0.0);
    const double far = p[i] * logs - p[i] + q[i];
    out[i] = double_of((bits_of(q[i] * series) & near) | (bits_of(far) & ~near));
  }
}

/// out[i] = log(x[i] * 2^exponent[i]).
inline void log_scaled(const double* x, const index* exponent, index n, double* out) {
  for (index i = 0; i < n; ++i) out[i] = log_scaled(x[i], exponent[i]);
}

}  // namespace tallydraw::TALLYDRAW_ISA
