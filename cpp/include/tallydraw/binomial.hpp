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
  return (static_cast<double>(static_cast<std::int64_t>(bits)) + 0.5) * 0x1p-52;
}

namespace binomial_parts {

/// log(1 - p), 0 < p <= 1/2: the error of 1 - p is undone (Kahan).
inline double log_complement(double p) noexcept {
  const double y = 1.0 - p;
  return y == 1.0 ? -p : log(y) * (p / (1.0 - y));
}

/// What Stirling's formula lacks for log (z - 1)!.
inline double delta(double z) noexcept {
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
  if (z <= 10.0) return exact[static_cast<int>(z)];
  const double y = 1.0 / z;
  const double y2 = y * y;
  return (1.0 / 12 - (1.0 / 360 - (1.0 / 1260 - (1.0 / 1680 - 1.0 / 1188 * y2) * y2) * y2) * y2) * y;
}

/// D(z, M) = z log(z / M) + M - z, given d = z - M: near d = 0 by the series of log in v = d / (z + M).
inline double deviance(double z, double mean, double d) noexcept {
  const double v = d / (z + mean);
  const double v2 = v * v;
  if (v2 >= 0.01) return z * log(z / mean) - d;
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

/// Whether x <= f(k) / f(m).
inline bool under_curve(double x, double k, double m, double n, double p, double q) noexcept {
  const double mean = (n + 2.0) * p;
  const double rest = (n + 2.0) * q;
  const double y = m + 1.0;
  const double y_rest = n - m + 1.0;
  const double z = k + 1.0;
  const double z_rest = n - k + 1.0;
  const double at_m = deviance(y, mean, y - mean) + deviance(y_rest, rest, mean - y) + (delta(y) + delta(y_rest));
  const double at_k = deviance(z, mean, z - mean) + deviance(z_rest, rest, mean - z) + (delta(z) + delta(z_rest));
  return x * x * ((y / z) * (y_rest / z_rest)) <= exp(2.0 * (at_m - at_k));
}

}  // namespace binomial_parts

/// A count of n trials of probability p <= 1/2 (q = 1 - p, rounded once), n >= 1. `words` is the block of the first
/// attempt of this count (row, outcome); a further attempt takes the next one.
inline index binomial(index n_trials, double p, double q, std::uint64_t key, std::uint64_t row, std::uint32_t outcome,
                      const std::uint32_t* words) noexcept {
  using namespace binomial_parts;
  const double n = static_cast<double>(n_trials);
  const double np = n * p;
  double u = unit(words[0], words[1]);
  double v = unit(words[2], words[3]);
  std::uint32_t attempt = 0;
  const auto again = [&] {
    std::uint32_t x[4][1] = {{static_cast<std::uint32_t>(row)},
                             {static_cast<std::uint32_t>(row >> 32)},
                             {outcome},
                             {counter_tag(purpose::counts, 0, ++attempt)}};
    philox(x, key);
    u = unit(x[0][0], x[1][0]);
    v = unit(x[2][0], x[3][0]);
  };

  if (np < 10.0) {
    // (1 - p)^n >= 1 - np, by far more than roundings: most counts of rare outcomes end here.
    if (u < 1.0 - np - 0x1p-40) return 0;
    const double none = exp(n * log_complement(p));
    const double odds = p / q;
    const double scale = (n + 1.0) * odds;
    for (;; again()) {
      double probability = none;
      double x = 0.0;
      // Past 110, and past n, there is less than 2^-52: only roundings lead there.
      while (u > probability && x <= 110.0 && x <= n) {
        u -= probability;
        x += 1.0;
        probability *= scale / x - odds;
      }
      if (x <= 110.0 && x <= n) return static_cast<index>(x);
    }
  }

  const double deviation = std::sqrt(np * q);  // exact in every bit by IEEE 754
  const double b = 1.15 + 2.53 * deviation;
  const double a = -0.0873 + 0.0248 * b + 0.01 * p;
  const double c = np + 0.5;
  const double sure = 0.92 * b - 4.2;
  for (;; again()) {
    const double w = u - 0.5;
    const double us = 0.5 - (w < 0.0 ? -w : w);
    const double place = (2.0 * a / us + b) * w + c;
    // Floor: place is not negative in what follows, and below 2^63.
    if (!(place >= 0.0 && place < n + 1.0)) continue;
    const index k = static_cast<index>(place);
    if (us >= 0.07 && v * b <= sure) return k;
    const double m = static_cast<double>(static_cast<index>((n + 1.0) * p));
    const double alpha = (2.83 + 5.1 / b) * deviation;
    if (under_curve(v * alpha / (a / (us * us) + b), static_cast<double>(k), m, n, p, q)) return k;
  }
}

}  // namespace tallydraw::TALLYDRAW_ISA
