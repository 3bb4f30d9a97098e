// Weighted counts of pairs of features of few categories with several columns of weights, those of the components of a
// mixture. Eight features are lanes; the sums of a category of another feature, of each of theirs and of some columns
// stay in registers while the rows that have that category, which are bits, go by in order, and each of a row's weights
// is added under the mask of the features that have a category. Only where vectors have masks.
#pragma once

#include <cstdint>
#include <cstring>

#include "tallydraw/bit_columns.hpp"
#include "tallydraw/count_soft.hpp"
#include "tallydraw/pair_codes.hpp"

namespace tallydraw::TALLYDRAW_ISA {

#if defined(__AVX512F__)

constexpr index masked_rows = 2048;    // of a chunk, at most
constexpr index masked_features = 16;  // against a tile
constexpr index masked_words = masked_rows / 64;

/// Scratch of add_under_masks in words: masks, and some columns of the weights side by side.
constexpr index masked_scratch = masked_rows * (tile_width / soft_lanes * soft_codes / 8 + soft_classes);

/// Whether features of so many categories are worth it.
inline bool are_masked(index most_a, index most_b, index n_columns) {
  return n_columns >= 4 && most_a <= soft_codes && most_b <= soft_codes;
}

/// sums[b][m][l] += weights[r * soft_classes + m] of the rows r whose bits are set, in their order, where bit l of
/// masks[b * masked_rows + r] is.
template <int Codes, int Columns>
inline void add_masked_rows(const std::uint64_t* bits, index words, const std::uint8_t* masks, const double* weights,
                            double* sums) {
  __m512d sum[Codes][Columns];
  for (int b = 0; b < Codes; ++b)
    for (int m = 0; m < Columns; ++m) sum[b][m] = _mm512_loadu_pd(sums + (b * Columns + m) * soft_lanes);
  for (index w = 0; w < words; ++w)
    for (std::uint64_t of = bits[w]; of != 0; of &= of - 1) {
      const index r = 64 * w + lowest_bit(of);
      __mmask8 met[Codes];
      for (int b = 0; b < Codes; ++b) met[b] = masks[b * masked_rows + r];
      for (int m = 0; m < Columns; ++m) {
        const __m512d weight = _mm512_set1_pd(weights[r * soft_classes + m]);
        for (int b = 0; b < Codes; ++b) sum[b][m] = _mm512_mask_add_pd(sum[b][m], met[b], sum[b][m], weight);
      }
    }
  for (int b = 0; b < Codes; ++b)
    for (int m = 0; m < Columns; ++m) _mm512_storeu_pd(sums + (b * Columns + m) * soft_lanes, sum[b][m]);
}

/// Features [first, last), at most masked_features, against the tile's j > i, and where `first` is 0 all the tile's
/// marginal sums: every one of n_columns columns of weights.
template <class U>
inline void add_under_masks(const structure_view& s, const pair_codes<U>& codes, const double* columns, index n_columns,
                            index first, index last, index tile, index most_b, const index* pair_offsets,
                            double* marginals, double* counts, double* scratch) {
  const index j0 = tile * tile_width, width = codes.width(tile), n = last - first;
  const index words = (codes.rows + 63) / 64, from = first > j0 ? (first + 1 - j0) / soft_lanes : 0;
  double* const weights = scratch;                                                            // [row, column]
  auto* const masks = reinterpret_cast<std::uint8_t*>(scratch + masked_rows * soft_classes);  // [group, category, row]
  std::uint64_t bits[masked_features][soft_codes][masked_words], all[masked_words];

  for (index w = 0; w < words; ++w) {
    const index r0 = 64 * w, m = codes.rows - r0 < 64 ? codes.rows - r0 : 64;
    U side_by_side[masked_features * 64] = {}, turned[masked_features * 64];
    for (index r = 0; r < m; ++r) {
      std::memcpy(side_by_side + r * masked_features, codes.feature(first) + (r0 + r) * codes.stride(first),
                  masked_features * sizeof(U));
      std::uint64_t met[soft_codes];
      bits_equal_to_each(codes.feature(j0) + (r0 + r) * codes.stride(j0), most_b, met);
      for (index b = 0; b < most_b; ++b)
        for (index g = from; g * soft_lanes < width; ++g)
          masks[(g * most_b + b) * masked_rows + r0 + r] = static_cast<std::uint8_t>(met[b] >> (g * soft_lanes));
    }
    const U* const column = transpose(side_by_side, turned, 64, masked_features);
    all[w] = ~std::uint64_t{0} >> (64 - m);
    for (index i = 0; i < n; ++i) {
      std::uint64_t met[soft_codes];
      bits_equal_to_each(column + 64 * i, s.n_categories[first + i], met);
      for (index a = 0; a < s.n_categories[first + i]; ++a) bits[i][a][w] = met[a] & all[w];
    }
  }

  const index at_once = soft_registers / most_b < soft_classes ? soft_registers / most_b : soft_classes;
  const index parts = (n_columns + at_once - 1) / at_once;
  for (index part = 0; part < parts; ++part) {
    const index c0 = n_columns * part / parts, m = n_columns * (part + 1) / parts - c0;
    for (index r = 0; r < codes.rows; ++r)
      for (index c = 0; c < m; ++c) weights[r * soft_classes + c] = columns[r * n_columns + c0 + c];
    // Rows of `chosen` and the features j from `least` on of group g: the cells of (j, column, b) are at cell(…).
    const auto add = [&](const std::uint64_t* chosen, index g, index least, auto cell) {
      double sums[soft_codes * soft_classes * soft_lanes] = {};
      const index begin = j0 + g * soft_lanes, end = begin + soft_lanes < j0 + width ? begin + soft_lanes : j0 + width;
      const auto each_cell = [&](auto visit) {  // (private, public)
        for (index j = least > begin ? least : begin; j < end; ++j)
          for (index c = 0; c < m; ++c)
            for (index b = 0; b < s.n_categories[j]; ++b)
              visit(sums[(b * m + c) * soft_lanes + j - begin], *cell(j, c0 + c, b));
      };
      each_cell([](double& own, double& other) { own = other; });
      with_constant<soft_codes>(most_b, [&](auto some_codes) {
        with_constant<soft_classes>(m, [&](auto some_columns) {
          constexpr int B = decltype(some_codes)::value, M = decltype(some_columns)::value;
          if constexpr (B * M <= soft_registers)
            add_masked_rows<B, M>(chosen, words, masks + g * most_b * masked_rows, weights, sums);
        });
      });
      each_cell([](double& own, double& other) { other = own; });
    };
    for (index g = from; g * soft_lanes < width; ++g) {
      for (index i = first; i < last && i + 1 < j0 + (g + 1) * soft_lanes; ++i)
        for (index a = 0; a < s.n_categories[i]; ++a)
          add(bits[i - first][a], g, i + 1, [&](index j, index c, index b) {
            const index ci = s.n_categories[i], cj = s.n_categories[j];
            return counts + pair_offsets[pair_of(i, j, s.d)] + (c * ci + a) * cj + b;
          });
      if (first == 0)
        add(all, g, 0, [&](index j, index c, index b) { return marginals + s.offsets[j] + c * s.n_categories[j] + b; });
    }
  }
}

#else

constexpr index masked_scratch = 0, masked_rows = 2048, masked_features = 16;
inline bool are_masked(index, index, index) { return false; }
template <class U>
inline void add_under_masks(const structure_view&, const pair_codes<U>&, const double*, index, index, index, index,
                            index, const index*, double*, double*, double*) {}

#endif

}  // namespace tallydraw::TALLYDRAW_ISA
