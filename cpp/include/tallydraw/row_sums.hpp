// Sums of rows from left to right, so that all machines agree on what sums to one.
#pragma once

#include "tallydraw/doubles.hpp"
#include "tallydraw/elementary.hpp"
#include "tallydraw/views.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// Whether some of n numbers is negative or NaN. In integers, of which compilers make vectors; -0 is not negative.
inline bool any_negative_or_nan(const double* x, index n) noexcept {
  constexpr std::uint64_t sign = 0x8000000000000000;
  std::uint64_t found = 0;
  for (index i = 0; i < n; ++i) {
    const std::uint64_t u = bits_of(x[i]);
    found |= static_cast<std::uint64_t>(u > elementary::infinity_bits) & static_cast<std::uint64_t>(u != sign);
  }
  return found != 0;
}

/// out[i] = the sum of row i of x (n, c) from left to right; whether no cell is negative or NaN. Rows are summed side
/// by side, which hides the latency of sums.
inline bool row_sums(const double* x, index n, index c, double* out) noexcept {
  constexpr int together = 8;
  bool negative = false;
  index i = 0;
  for (; i + together <= n; i += together) {
    const double* const rows = x + i * c;
    doubles<2> sum[together / 2] = {};
    for (index j = 0; j < c; ++j)
      for (int g = 0; g < together; g += 2) sum[g / 2].add(rows[g * c + j], rows[(g + 1) * c + j]);
    for (int g = 0; g < together; g += 2) sum[g / 2].store(out + i + g);
    negative |= any_negative_or_nan(rows, together * c);
  }
  for (; i < n; ++i) {
    double sum = 0.0;
    for (index j = 0; j < c; ++j) sum += x[i * c + j];
    out[i] = sum;
    negative |= any_negative_or_nan(x + i * c, c);
  }
  return !negative;
}

}  // namespace tallydraw::TALLYDRAW_ISA
