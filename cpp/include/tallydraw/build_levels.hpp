// What searches compare with, levels.hpp, made of weights: levels by the rule of running sums, guide tables. The rule of
// integers is a long division, above both backends.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>

#include "tallydraw/views.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// The levels of rows of C weights, floor(2^64 fl(S_c / S)) of sums S_c from left to right, and 2^64, stored as 2^64 - 1,
/// where S_c = S; a row whose sum overflows is multiplied by 2^-64 first. Weights are finite, not negative, and not all
/// zeros. Two passes: the sums wait for each other, the divisions do not.
inline void float_levels(const double* weights, index n_rows, index C, std::uint64_t* level) {
  for (index row = 0; row < n_rows; ++row, weights += C, level += C) {
    double total = 0.0;
    const auto add_up = [&](double scale) {
      total = 0.0;
      for (index c = 0; c < C; ++c) {
        total += weights[c] * scale;
        std::memcpy(level + c, &total, sizeof total);
      }
    };
    add_up(1.0);
    if (total > std::numeric_limits<double>::max()) add_up(0x1p-64);
    for (index c = 0; c < C; ++c) {
      double sum;
      std::memcpy(&sum, level + c, sizeof sum);
      level[c] = sum == total ? UINT64_MAX : static_cast<std::uint64_t>(sum / total * 0x1p64);
    }
  }
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
