// What the searches of levels.hpp compare with, made of weights: levels, their upper halves, guide tables.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>

#include "tallydraw/views.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// The levels of one row of float weights, floor(2^64 fl(S_c / S)) of sums S_c from left to right, and 2^64, stored as
/// 2^64 - 1, where S_c = S; a row whose sum overflows is multiplied by 2^-64 first. Two passes: the sums wait for each
/// other, the divisions do not. False where a weight is negative or not finite, or all are zeros.
inline bool float_levels(const double* weights, index C, std::uint64_t* level) {
  constexpr double most = std::numeric_limits<double>::max();
  double total = 0.0;
  bool good = true;
  const auto add_up = [&](double scale) {
    total = 0.0;
    for (index c = 0; c < C; ++c) {
      good &= weights[c] >= 0.0;  // NaN is not
      total += weights[c] * scale;
      std::memcpy(level + c, &total, sizeof total);
    }
  };
  add_up(1.0);
  if (total > most) add_up(0x1p-64);
  if (!good || total > most || total == 0.0) return false;
  for (index c = 0; c < C; ++c) {
    double sum;
    std::memcpy(&sum, level + c, sizeof sum);
    level[c] = sum == total ? UINT64_MAX : static_cast<std::uint64_t>(sum / total * 0x1p64);
  }
  return true;
}

/// floor(2^64 sum / total) of sum < total < 2^63 by long division, as many bits at a time as do not overflow.
inline std::uint64_t divide(std::uint64_t sum, std::uint64_t total) {
  int step = 32;
  while (total > std::uint64_t{1} << (64 - step)) step /= 2;
  std::uint64_t level = 0;
  for (int bits = 0; bits < 64; bits += step) {
    sum <<= step;
    const std::uint64_t digit = sum / total;
    sum -= digit * total;
    level = (level << step) | digit;
  }
  return level;
}

/// Row sums up to this are divided by multiplications.
constexpr std::uint64_t most_multiplied = std::uint64_t{1} << 31;

/// The levels of one row of integers, floor(2^64 S_c / S) exactly. With 2^64 = whole S + rest it is
/// S_c whole + floor(S_c rest / S), the last quotient by 1 / S at most one off. False where a weight is negative, or S is
/// zero or 2^63 and more.
inline bool integer_levels(const index* weights, index C, std::uint64_t* level) {
  std::uint64_t total = 0, bits = 0;  // of all weights and sums
  for (index c = 0; c < C; ++c) {
    level[c] = total += static_cast<std::uint64_t>(weights[c]);
    bits |= total | static_cast<std::uint64_t>(weights[c]);
  }
  if (bits == 0 || bits >> 63) return false;
  if (total > most_multiplied) {
    for (index c = 0; c < C; ++c) level[c] = level[c] == total ? UINT64_MAX : divide(level[c], total);
    return true;
  }
  const std::uint64_t whole = UINT64_MAX / total;
  const index sum = static_cast<index>(total), rest = static_cast<index>(0 - whole * total);
  const double inverse = 1.0 / static_cast<double>(sum);
  for (index c = 0; c < C; ++c) {
    const index reached = static_cast<index>(level[c]), product = reached * rest;
    index quotient = static_cast<index>(static_cast<double>(product) * inverse);
    const index left = product - quotient * sum;
    quotient += left >= sum ? 1 : left < 0 ? -1 : 0;
    const std::uint64_t below = level[c] * whole + static_cast<std::uint64_t>(quotient);
    level[c] = reached == sum ? UINT64_MAX : below;
  }
  return true;
}

/// The levels of rows of C weights, or false where a row is none that can be drawn from. One of `floats` and `integers` is
/// null.
inline bool row_levels(const double* floats, const index* integers, index n_rows, index C, std::uint64_t* level) {
  bool good = true;
  for (index first = 0; good && first < n_rows * C; first += C)
    good = floats ? float_levels(floats + first, C, level + first) : integer_levels(integers + first, C, level + first);
  return good;
}

/// guide[i] of one table row, i < 2^bits: the first c with i * 2^(64 - bits) < L_c. Entries are written several at a
/// time, whether so many belong to c or not, and those of c + 1 over them: how many, a processor could not foresee.
template <class G>
inline void build_guide(const std::uint64_t* level, index n, index bits, G* guide) {
  constexpr index together = 8;
  const index size = index{1} << bits;
  index i = 0;
  for (index c = 0; c < n; ++c) {
    const index end = level[c] == 0 ? 0 : static_cast<index>((level[c] - 1) >> (64 - bits)) + 1;
    if (size - i >= together) {
      do {
        for (index k = 0; k < together; ++k) guide[i + k] = static_cast<G>(c);
        i += together;
      } while (i < end && size - i >= together);
    }
    for (; i < end; ++i) guide[i] = static_cast<G>(c);
    i = end;
  }
}

template <class G>
inline void build_guides_of(const structure_view& s, const std::uint64_t* level, const index* guide_offsets,
                            const index* guide_bits, G* guide) {
  for (index j = 0; j < s.d; ++j) {
    const index bits = guide_bits[j], n = s.n_categories[j];
    if (bits < 0) continue;
    for (index row = 0; row < s.n_classes * s.n_contexts[j]; ++row)
      build_guide(level + s.offsets[j] + row * n, n, bits, guide + guide_offsets[j] + (row << bits));
  }
}

/// The upper halves of all levels, and the guides of features whose guide_bits are not negative. Exactly one of `bytes`
/// and `words` is not null.
inline void build_guides(const structure_view& s, const std::uint64_t* level, const index* guide_offsets,
                         const index* guide_bits, std::uint32_t* high, std::uint8_t* bytes, std::uint32_t* words) {
  for (index i = 0; i < s.offsets[s.d]; ++i) high[i] = static_cast<std::uint32_t>(level[i] >> 32);
  if (bytes)
    build_guides_of(s, level, guide_offsets, guide_bits, bytes);
  else
    build_guides_of(s, level, guide_offsets, guide_bits, words);
}

}  // namespace tallydraw::TALLYDRAW_ISA
