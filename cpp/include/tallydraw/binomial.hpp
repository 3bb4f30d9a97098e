// One binomial count, exact in law up to the rounding of float64, for n to 2^53.
//
// Below np = 10 by inversion: the probabilities from zero on, subtracted from one uniform (Devroye 1986, X.4).
// Otherwise by transformed rejection, algorithm BTRS of W. Hoermann, "The generation of binomial random variates",
// Journal of Statistical Computation and Simulation 46 (1993): two uniforms an attempt, four in five of them accepted
// by comparisons alone. Its last step is to accept where x <= f(k) / f(m), f the probabilities and m their mode. From
// Stirling's log k! = (z - 1/2) log z - z + log(2 pi) / 2 + delta(z), z = k + 1, the terms of size n cancel, all of
// them, when z log z is written around M = (n + 2) p as D(z, M) + z log M + z - M (Loader 2000, "Fast and accurate
// computation of binomial probabilities"); what is left keeps its digits at any n:
//   log f(k) / f(m) = S(m) - S(k) + log(z z' / y y') / 2,  S = D(z, M) + D(z', M') + delta(z) + delta(z'),
// z' = n - k + 1 and M' = (n + 2) q for the failures, y and y' for the mode.
#pragma once

#include <cmath>
#include <cstdint>

#include "tallydraw/elementary.hpp"
#include "tallydraw/philox.hpp"
#include "tallydraw/views.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// One of 2^52 uniforms, the midpoints of equal steps: never 0, never 1.
inline double unit(std::uint32_t high, std::uint32_t low) noexcept {
  const std::uint64_t bits = std::uint64_t{high} << 20 | low >> 12;
  return ((double_of(bits | elementary::two52_bits) - elementary::two52) + 0.5) * 0x1p-52;
}

/// Floor of 0 <= x, in operations that vector lanes have everywhere.
inline double whole_part(double x) noexcept {
  const double nearest = (x + 0x1p52) - 0x1p52;
  return elementary::select(x < 0x1p52, nearest - elementary::select(nearest > x, 1.0, 0.0), x);
}

namespace binomial_parts {

/// log(1 - p), 0 <= p <= 1/2: the error of 1 - p is undone (Kahan).
inline double log_complement(double p) noexcept {
  const double y = 1.0 - p;
  const double beside_one = elementary::select(y == 1.0, 1.0, 1.0 - y);
  return elementary::select(y == 1.0, -p, log(y) * (p / beside_one));
}

/// What Stirling's formula lacks for log (z - 1)!, where z > 10.
inline double delta_series(double z) noexcept {
  const double y = 1.0 / z;
  const double y2 = y * y;
  return (1.0 / 12 - (1.0 / 360 - (1.0 / 1260 - (1.0 / 1680 - 1.0 / 1188 * y2) * y2) * y2) * y2) * y;
}

/// The same for every whole z >= 1.
inline double delta_any(double z) noexcept {
  constexpr double exact[11] = {0.0,
                                0x1.4c071bcda0a5bp-4,
                                0x1.52a9b923ea649p-5,
                                0x1.c579a268d80b3p-6,
                                0x1.54a2662fd78a9p-6,
                                0x1.10b4e513fcbedp-6,
                                0x1.c6b167bebdf36p-7,
                                0x1.85d4d612e4a86p-7,
                                0x1.552805e7b3076p-7,
                                0x1.2f4871b12ab64p-7,
                                0x1.10f9d4c0743a7p-7};
  double delta = delta_series(z);
  for (int i = 1; i <= 10; ++i) delta = elementary::select(z == i, exact[i], delta);  // a vector has no other way
  return delta;
}

/// D(z, M) = z log(z / M) + M - z, given d = z - M, by the series of log in v = d / (z + M), where v^2 < 0.01.
inline double deviance_series(double z, double mean, double d) noexcept {
  const double v = d / (z + mean);
  const double v2 = v * v;
  double s = 1.0 / 17;
  s = 1.0 / 15 + v2 * s;
  s = 1.0 / 13 + v2 * s;
  s = 1.0 / 11 + v2 * s;
  s = 1.0 / 9 + v2 * s;
  s = 1.0 / 7 + v2 * s;
  s = 1.0 / 5 + v2 * s;
  s = 1.0 / 3 + v2 * s;
  return d * v + 2.0 * z * v * (v2 * s);
}

inline bool has_series(double z, double mean, double d) noexcept {
  const double v = d / (z + mean);
  return v * v < 0.01;
}

/// The same for every z > 0.
inline double deviance_any(double z, double mean, double d) noexcept {
  return elementary::select(has_series(z, mean, d), deviance_series(z, mean, d), z * log(z / mean) - d);
}

/// x <= f(k) / f(m) is left <= exp(log_right); with Series, only where near_mode says so.
struct sides {
  double left;
  double log_right;
};
template <bool Series>
inline sides compare(double x, double k, double m, double n, double p, double q) noexcept {
  constexpr auto deviance = Series ? deviance_series : deviance_any;
  constexpr auto delta = Series ? delta_series : delta_any;
  const double mean = (n + 2.0) * p;
  const double rest = (n + 2.0) * q;
  const double y = m + 1.0;
  const double y_rest = n - m + 1.0;
  const double z = k + 1.0;
  const double z_rest = n - k + 1.0;
  const double at_m = deviance(y, mean, y - mean) + deviance(y_rest, rest, mean - y) + (delta(y) + delta(y_rest));
  const double at_k = deviance(z, mean, z - mean) + deviance(z_rest, rest, mean - z) + (delta(z) + delta(z_rest));
  return {x * x * ((y / z) * (y_rest / z_rest)), 2.0 * (at_m - at_k)};
}

/// Whether the series hold for compare, given np >= 10, p <= 1/2, which they do for the mode.
inline bool near_mode(double k, double n, double p, double q) noexcept {
  const double mean = (n + 2.0) * p;
  const double z = k + 1.0;
  const double z_rest = n - k + 1.0;
  // Every condition is looked at: a branch would cost more.
  const int series =
      static_cast<int>(has_series(z, mean, z - mean)) & static_cast<int>(has_series(z_rest, (n + 2.0) * q, mean - z));
  return (series & static_cast<int>(z > 10.0) & static_cast<int>(z_rest > 10.0)) != 0;
}

/// 1 / x, as far as counts by inversion are followed, and one more step, in which the lanes that have ended wait.
struct reciprocals {
  double of[113];
  constexpr reciprocals() : of() {
    for (int x = 1; x < 113; ++x) of[x] = 1.0 / x;
  }
};
inline constexpr reciprocals one_over{};

}  // namespace binomial_parts

/// Below this a uniform gives no success at all, np < 10: (1 - p)^n >= 1 - np, by far more than roundings.
inline double surely_none(double np) noexcept { return 1.0 - np - 0x1p-40; }

/// The hat of BTRS for a mean np >= 10.
struct transformed {
  double np;
  double deviation;
  double a;
  double b;

  /// Where the first uniform of an attempt leads; the count is its floor.
  double place(double u) const noexcept {
    const double w = u - 0.5;
    const double us = 0.5 - std::fabs(w);
    return (2.0 * a / us + b) * w + (np + 0.5);
  }

  /// Whether the count is accepted without another look: where both hold.
  bool middle(double u) const noexcept { return 0.5 - std::fabs(u - 0.5) >= 0.07; }
  bool low(double v) const noexcept { return v * b <= 0.92 * b - 4.2; }

  /// v under the hat, in units of the probability of the mode.
  double height(double u, double v) const noexcept {
    const double us = 0.5 - std::fabs(u - 0.5);
    return v * ((2.83 + 5.1 / b) * deviation) / (a / (us * us) + b);
  }
};

inline transformed transform(double np, double p, double q) noexcept {
  const double deviation = std::sqrt(np * q);  // exact in every bit by IEEE 754
  const double b = 1.15 + 2.53 * deviation;
  return {np, deviation, -0.0873 + 0.0248 * b + 0.01 * p, b};
}

/// A probability of no success: (1 - p)^n.
inline double chance_of_none(double n, double p) noexcept { return exp(n * binomial_parts::log_complement(p)); }

/// The count that u stands for, np < 10: the probabilities are subtracted from it until one is larger. -1: draw again.
inline double invert(double n, double p, double q, double u, double none) noexcept {
  const double odds = p / q;
  const double scale = (n + 1.0) * odds;
  const int most = n < 110.0 ? static_cast<int>(n) : 110;
  double probability = none;
  int x = 0;
  // Past 110, and past n, there is less than 2^-52: only roundings lead there.
  while (u > probability) {
    if (++x > most) return -1.0;
    u -= probability;
    probability *= scale * binomial_parts::one_over.of[x] - odds;
  }
  return x;
}

/// Attempt number `attempt` and the following ones at the count (row, outcome), one block of words each.
struct attempts {
  std::uint64_t key;
  std::uint64_t row;
  std::uint32_t outcome;
  std::uint32_t attempt;
  double u;
  double v;

  void next() noexcept {
    std::uint32_t x[4][1] = {{static_cast<std::uint32_t>(row)},
                             {static_cast<std::uint32_t>(row >> 32)},
                             {outcome},
                             {counter_tag(purpose::counts, 0, ++attempt)}};
    philox(x, key);
    u = unit(x[0][0], x[1][0]);
    v = unit(x[2][0], x[3][0]);
  }
};

/// A count of n trials, a whole number up to 2^53, of probability p <= 1/2 (q = 1 - p, rounded once).
inline double binomial(double n, double p, double q, attempts at) noexcept {
  const double np = n * p;
  if (np < 10.0) {
    if (at.u < surely_none(np)) return 0.0;
    const double none = chance_of_none(n, p);
    for (;; at.next()) {
      const double k = invert(n, p, q, at.u, none);
      if (k >= 0.0) return k;
    }
  }
  const transformed t = transform(np, p, q);
  const double mode = whole_part((n + 1.0) * p);
  for (;; at.next()) {
    const double place = t.place(at.u);
    if (!(place >= 0.0 && place < n + 1.0)) continue;
    const double k = whole_part(place);
    if (t.middle(at.u) && t.low(at.v)) return k;
    const double height = t.height(at.u, at.v);
    const auto test = binomial_parts::near_mode(k, n, p, q) ? binomial_parts::compare<true>(height, k, mode, n, p, q)
                                                            : binomial_parts::compare<false>(height, k, mode, n, p, q);
    if (test.left <= exp(test.log_right)) return k;
  }
}

}  // namespace tallydraw::TALLYDRAW_ISA
