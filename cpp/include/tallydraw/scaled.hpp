// Sums of products of probabilities that may leave the range of float64 on the way: every number carries its own
// exponent. One exponent for a whole vector would turn its small entries, which may be all that counts later, into 0.
#pragma once

#include <cstdint>

#include "tallydraw/elementary.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// m * 2^e with m in [1, 2), or m = 0 and e = 0: impossible.
struct scaled {
  double m;
  index e;
};

inline scaled make_scaled(double x, index e = 0) noexcept {  // x * 2^e, exactly; x >= 0, finite
  if (x == 0.0) return {0.0, 0};
  if (bits_of(x) < 0x0010000000000000) {
    x *= 18014398509481984.0;  // 2^54: a subnormal becomes normal
    e -= 54;
  }
  const std::uint64_t u = bits_of(x);
  return {double_of((u & 0x000FFFFFFFFFFFFF) | 0x3FF0000000000000), e + static_cast<index>(u >> 52) - 1023};
}

inline scaled operator*(scaled a, scaled b) noexcept { return make_scaled(a.m * b.m, a.e + b.e); }

inline bool operator<(scaled a, scaled b) noexcept {
  return a.m == 0.0 || b.m == 0.0 ? a.m < b.m : a.e < b.e || (a.e == b.e && a.m < b.m);
}

/// Sum over i < n, left to right, of p[i * stride] * v[i]: each product rounds once, is brought to the exponent of the
/// largest (exactly; below 2^-1022 of it to 0), and each sum rounds once. Two passes, nothing stored.
inline scaled sum_of_products(const double* p, index stride, const scaled* v, index n) noexcept {
  index most = INT64_MIN;
  for (index i = 0; i < n; ++i) {
    const scaled t = make_scaled(p[i * stride]) * v[i];
    if (t.m != 0.0 && t.e > most) most = t.e;
  }
  if (most == INT64_MIN) return {0.0, 0};
  double sum = 0.0;
  for (index i = 0; i < n; ++i) {
    const scaled t = make_scaled(p[i * stride]) * v[i];
    if (t.m != 0.0 && t.e - most >= -1022) sum += t.m * double_of(static_cast<std::uint64_t>(t.e - most + 1023) << 52);
  }
  return make_scaled(sum, most);
}

}  // namespace tallydraw::TALLYDRAW_ISA
