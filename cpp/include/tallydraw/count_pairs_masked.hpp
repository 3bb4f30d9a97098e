// Weighted counts of pairs of features of few categories, only where vectors have masks. Eight features are lanes; the
// sums of a category of another feature and of each of theirs stay in registers while the rows that have that category
// go by in order, and a row's weight is added under the mask of the features that have a category: to
// sums of as many features as there are registers, or, of several columns of weights (those of the components of a
// mixture), to sums of as many columns.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#include "tallydraw/bit_columns.hpp"
#include "tallydraw/count_soft.hpp"
#include "tallydraw/pair_codes.hpp"
#include "tallydraw/transpose.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// The masks that a thread has of a chunk: of a tile, of which `extreme` are the features that have the first or the
/// last category in every row.
struct held_masks {
  index tile;  // -1 for none
  std::uint64_t extreme;
};

/// Rows by class, in their order within one, and where those of a class begin: of all rows where there is one.
struct row_order {
  const std::int32_t* rows;
  const index* group;
};

#if defined(__AVX512F__)

constexpr bool has_masks = true;
constexpr index masked_rows = 4096;      // of a chunk, at most
constexpr index together_rows = 2048;    // the same where all columns are added at once
constexpr index masked_features = 16;    // against a tile
constexpr index masked_categories = 48;  // of a feature, at most, of one column after the other (measured)
constexpr index masked_groups = 512;     // of rows by class and category, at most
constexpr index masked_words = masked_rows / 64;
constexpr int masked_sums = 28;             // in registers
constexpr int masked_codes = 4;             // categories of a feature whose masks lie side by side
constexpr int mask_bytes = tile_width / 8;  // of a row and category

/// Scratch in words: masks, bits of rows, and weights.
constexpr index masks_words = masked_rows * masked_categories * mask_bytes / 8;
constexpr index chosen_words = masked_features * masked_categories * masked_words;
constexpr index masked_scratch = masks_words + chosen_words + masked_rows;
static_assert(masked_scratch >= together_rows * (tile_width / soft_lanes * soft_codes / 8 + soft_classes));

/// Whether features of so many categories are worth it, all columns at once.
inline bool are_masked(index most_a, index most_b, index n_columns) {
  return n_columns >= 4 && most_a <= soft_codes && most_b <= soft_codes;
}

/// The same of one column after the other, of rows of so many classes.
inline bool is_column_masked(index most_a, index most_b, index n_columns, index n_classes) {
  constexpr index columns = 4, added = 64;  // columns, from which on they are added together, unless so few sums are
  return most_a <= masked_categories && most_b <= masked_categories && n_classes * most_a <= masked_groups &&
         (n_columns < columns || n_columns * most_b <= added);
}

/// sums[b][m][l] += weights[r * soft_classes + m] of the rows r whose bits are set, in their order, where bit l of
/// masks[b * together_rows + r] is.
template <int Codes, int Columns>
inline void add_masked_rows(const std::uint64_t* bits, index words, const std::uint8_t* masks, const double* weights,
                            double* sums) {
  __m512d sum[Codes][Columns];
  for (int b = 0; b < Codes; ++b)
    for (int m = 0; m < Columns; ++m) sum[b][m] = _mm512_loadu_pd(sums + (b * Columns + m) * soft_lanes);
  const __m512d one = _mm512_set1_pd(1.0);
  for (index w = 0; w < words; ++w)
    for (std::uint64_t of = bits[w]; of != 0; of &= of - 1) {
      const index r = 64 * w + lowest_bit(of);
      __mmask8 met[Codes];
      for (int b = 0; b < Codes; ++b) met[b] = masks[b * together_rows + r];
      for (int m = 0; m < Columns; ++m) {
        const __m512d weight = _mm512_set1_pd(weights[r * soft_classes + m]);
        // Every other one as weight * 1 + sum, which has the same bits, since the product is exact: units that multiply
        // add beside those that only add (measured: a sixth less time).
        for (int b = 0; b < Codes; ++b)
          sum[b][m] = m % 2 ? _mm512_mask3_fmadd_pd(weight, one, sum[b][m], met[b])
                            : _mm512_mask_add_pd(sum[b][m], met[b], sum[b][m], weight);
      }
    }
  for (int b = 0; b < Codes; ++b)
    for (int m = 0; m < Columns; ++m) _mm512_storeu_pd(sums + (b * Columns + m) * soft_lanes, sum[b][m]);
}

/// Features [first, last), at most masked_features, against the tile's j > i, and where `first` is 0 all the tile's
/// marginal sums: every one of n_columns columns of weights.
template <class U>
inline void add_under_masks(const structure_view& s, const pair_codes<U>& codes, const double* columns, index n_columns,
                            index first, index last, index tile, index most_b, const pair_places& places,
                            double* marginals, double* counts, double* scratch) {
  const index j0 = tile * tile_width, width = codes.width(tile), n = last - first;
  const index words = (codes.rows + 63) / 64, from = first > j0 ? (first + 1 - j0) / soft_lanes : 0;
  double* const weights = scratch;  // [row, column]
  auto* const masks =
      reinterpret_cast<std::uint8_t*>(scratch + together_rows * soft_classes);  // [group, category, row]
  std::uint64_t bits[masked_features][soft_codes][together_rows / 64], all[together_rows / 64];

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
          masks[(g * most_b + b) * together_rows + r0 + r] = static_cast<std::uint8_t>(met[b] >> (g * soft_lanes));
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
            add_masked_rows<B, M>(chosen, words, masks + g * most_b * together_rows, weights, sums);
        });
      });
      each_cell([](double& own, double& other) { other = own; });
    };
    for (index g = from; g * soft_lanes < width; ++g) {
      for (index i = first; i < last && i + 1 < j0 + (g + 1) * soft_lanes; ++i)
        for (index a = 0; a < s.n_categories[i]; ++a)
          add(bits[i - first][a], g, i + 1, [&](index j, index c, index b) {
            const index ci = s.n_categories[i], cj = s.n_categories[j];
            return counts + places.of(i, j) + (c * ci + a) * cj + b;
          });
      if (first == 0)
        add(all, g, 0, [&](index j, index c, index b) { return marginals + s.offsets[j] + c * s.n_categories[j] + b; });
    }
  }
}

/// Sixteen bits, of which the second eight may be anything where they are not used, as masks of eight lanes each.
struct two_masks {
  __mmask8 first, second;
  explicit two_masks(const std::uint8_t* bits) {
    __mmask16 both;
#if defined(__GNUC__)
    // GCC would move masks through general registers, of which there is one a cycle: a third more time (measured).
    asm("kmovw %1, %0" : "=k"(both) : "m"(*reinterpret_cast<const char (*)[2]>(bits)));
#else
    std::memcpy(&both, bits, sizeof both);
#endif
    first = static_cast<__mmask8>(both);
    second = static_cast<__mmask8>(_kshiftri_mask16(both, 8));
  }
};

/// sum += weight under a mask.
inline void add_under(__mmask8 mask, __m512d weight, __m512d& sum) { sum = _mm512_mask_add_pd(sum, mask, sum, weight); }

/// The same, and other += weight where the mask is not: one mask less to load, and half of the additions wait for none.
/// Where it is, zero is added to `other`, which changes nothing.
inline void add_to_either(__mmask8 mask, __m512d weight, __m512d& sum, __m512d& other) {
  add_under(mask, weight, sum);
  other = _mm512_add_pd(other, _mm512_mask_mov_pd(weight, mask, _mm512_setzero_pd()));
}

/// sums[b * tile_width + j] += weights[r] of the n rows r, in their order, where feature j of Sides vectors is one of
/// those that masks[r * stride + b * mask_bytes …] name; where Either, each of these features has one of two categories
/// in every row. Written over a pack: in loops GCC would keep sums in memory.
template <int Codes, int Sides, bool Either, int... V>
TALLYDRAW_APART inline void add_side_by_side(std::integer_sequence<int, V...>, const std::int32_t* rows, index n,
                                             const std::uint8_t* masks, index stride, const double* weights,
                                             double* sums) {
  constexpr auto place = [](int v) { return v / Sides * tile_width + v % Sides * 8; };
  __m512d sum[] = {_mm512_loadu_pd(sums + place(V))...};
  for (index i = 0; i < n; ++i) {
    const index r = rows[i];
    const std::uint8_t* const mask = masks + r * stride;
    const __m512d weight = _mm512_set1_pd(weights[r]);
    const auto add = [&](auto vector) {
      constexpr int v = decltype(vector)::value, s = v % Sides, byte = v / Sides * mask_bytes + s;
      constexpr bool two = s + 1 < Sides;
      if constexpr (s % 2 == 0 && (!Either || v >= Sides)) {
        const two_masks met(mask + byte);
        if constexpr (Either) {
          add_to_either(met.first, weight, sum[v], sum[v - Sides]);
          if constexpr (two) add_to_either(met.second, weight, sum[v + 1], sum[v + 1 - Sides]);
        } else {
          add_under(met.first, weight, sum[v]);
          if constexpr (two) add_under(met.second, weight, sum[v + 1]);
        }
      }
    };
    (add(std::integral_constant<int, V>{}), ...);
  }
  (_mm512_storeu_pd(sums + place(V), sum[V]), ...);
}

/// Vectors of so many categories that have registers at once.
constexpr int most_sides(int codes) { return masked_sums / codes < mask_bytes ? masked_sums / codes : mask_bytes; }

/// The same for numbers that are not known before: at most masked_codes, and most_sides of them.
template <int Codes = masked_codes, int Sides = most_sides(Codes), class... Rest>
inline void add_side_by_side(index codes, index sides, bool either, Rest... rest) {
  if constexpr (Codes > 1)
    if (codes < Codes) return add_side_by_side<Codes - 1, most_sides(Codes - 1)>(codes, sides, either, rest...);
  if constexpr (Sides > 1)
    if (sides < Sides) return add_side_by_side<Codes, Sides - 1>(codes, sides, either, rest...);
  constexpr std::make_integer_sequence<int, Codes * Sides> all{};
  if constexpr (Codes == 2)
    if (either) return add_side_by_side<Codes, Sides, true>(all, rest...);
  add_side_by_side<Codes, Sides, false>(all, rest...);
}

/// The numbers of the bits in [begin, end) that are set, in order; how many. `numbers` has room for 16 more.
inline index list_bits(const std::uint64_t* bits, index begin, index end, std::int32_t* numbers) {
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  index n = 0;
  for (index at = begin / 64 * 64; at < end; at += 64) {
    std::uint64_t set = bits[at / 64];
    if (at < begin) set &= ~std::uint64_t{0} << (begin - at);
    if (at + 64 > end) set &= ~std::uint64_t{0} >> (at + 64 - end);
    for (index part = at; set != 0; part += 16, set >>= 16) {
      const auto some = static_cast<__mmask16>(set);
      const __m512i all = _mm512_add_epi32(lanes, _mm512_set1_epi32(static_cast<int>(part)));
      _mm512_storeu_si512(numbers + n, _mm512_maskz_compress_epi32(some, all));
      n += popcount(some);
    }
  }
  return n;
}

/// Features [first, last), at most masked_features, against the tile's j > i, and where `first` is 0 all the tile's
/// marginal sums: column w of the weights, where by_class for the class of each row. Rows go by their number in `order`,
/// so those of a class are side by side.
template <class U>
inline void add_column_under_masks(const structure_view& s, const pair_codes<U>& codes, const row_order& order,
                                   const double* columns, index n_columns, index w, bool by_class, index first,
                                   index last, index tile, index most_b, const pair_places& places, double* marginals,
                                   double* counts, held_masks& held, double* scratch) {
  const index j0 = tile * tile_width, width = codes.width(tile), n = last - first, words = (codes.rows + 63) / 64;
  auto* const masks = reinterpret_cast<std::uint64_t*>(scratch);  // [row, category]: bits of features
  std::uint64_t* const bits = masks + masks_words;                // [feature, category, word]: of rows
  double* const copied = scratch + masks_words + chosen_words;
  const double* const weights = by_class || n_columns > 1 ? copied : columns;
  const index parts = (most_b + masked_codes - 1) / masked_codes;  // of categories
  const auto part_begin = [&](index part) { return most_b * part / parts; };

  // What a row adds, and where.
  if (held.tile != tile) {
    held = {tile, ~std::uint64_t{0}};
    for (index r = 0; r < codes.rows; ++r) {
      std::uint64_t* const met = masks + r * most_b;
      bits_equal_to_each(codes.feature(j0) + order.rows[r] * codes.stride(j0), most_b, met);
      held.extreme &= met[0] | met[most_b - 1];
    }
    if (width < tile_width) held.extreme |= ~std::uint64_t{0} << width;
  }
  for (index r = 0; weights == copied && r < codes.rows; ++r) copied[r] = columns[order.rows[r] * n_columns + w];
  const auto either = [&](index begin, index end) {  // features of vectors [begin, end): one of two categories each
    const std::uint64_t asked = ~std::uint64_t{0} >> (tile_width - (end - begin) * 8) << (begin * 8);
    return most_b == 2 && (~held.extreme & asked) == 0;
  };

  // Which rows have a category: bits past the last row may be anything.
  const U* const block_codes = codes.feature(first);
  const index block_stride = codes.stride(first);
  std::uint64_t all[masked_words];
  for (index v = 0; v < words; ++v) {
    const index r0 = 64 * v, m = codes.rows - r0 < 64 ? codes.rows - r0 : 64;
    U side_by_side[masked_features * 64] = {}, turned[masked_features * 64];
    for (index r = 0; r < m; ++r)
      std::memcpy(side_by_side + r * masked_features, block_codes + order.rows[r0 + r] * block_stride,
                  masked_features * sizeof(U));
    const U* const column = transpose(side_by_side, turned, 64, masked_features);
    for (index i = 0; i < n; ++i) {
      std::uint64_t met[masked_categories];
      bits_equal_to_each(column + i * 64, s.n_categories[first + i], met);
      for (index a = 0; a < s.n_categories[first + i]; ++a)
        bits[(i * masked_categories + a) * masked_words + v] = met[a];
    }
    all[v] = ~std::uint64_t{0};
  }

  // Rows of class k whose bits are set, and features j from `least` on, whose cells begin at cells(j).
  const auto add = [&](const std::uint64_t* chosen, index k, index least, auto cells) {
    std::int32_t rows[masked_rows + 16];
    const index n_rows = list_bits(chosen, order.group[k], order.group[k + 1], rows);
    if (n_rows == 0) return;
    double sums[masked_categories * tile_width];
    const index from = least > j0 ? (least - j0) / 8 : 0, sides = (width + 7) / 8 - from;
    const auto each_cell = [&](auto visit) {  // (private, public)
      for (index j = least > j0 ? least : j0; j < j0 + width; ++j) {
        double* const cell = cells(j);
        for (index b = 0; b < s.n_categories[j]; ++b) visit(sums[b * tile_width + j - j0], cell[b]);
      }
    };
    for (index i = 0; i < most_b * tile_width; ++i) sums[i] = 0.0;
    each_cell([](double& own, double& cell) { own = cell; });
    for (index part = 0; part < parts; ++part) {
      const index b0 = part_begin(part), some = part_begin(part + 1) - b0;
      const index at_once = most_sides(static_cast<int>(some)), pieces = (sides + at_once - 1) / at_once;
      for (index piece = 0; piece < pieces; ++piece) {
        const index begin = from + sides * piece / pieces, end = from + sides * (piece + 1) / pieces;
        add_side_by_side(some, end - begin, either(begin, end), rows, n_rows,
                         reinterpret_cast<const std::uint8_t*>(masks + b0) + begin, most_b * mask_bytes, weights,
                         sums + b0 * tile_width + begin * 8);
      }
    }
    each_cell([](double& own, double& cell) { cell = own; });
  };
  for (index k = 0; k < (by_class ? s.n_classes : 1); ++k) {
    const index block = by_class ? k : w;
    for (index i = first; i < last && i + 1 < j0 + width; ++i) {
      const index ci = s.n_categories[i];
      for (index a = 0; a < ci; ++a)
        add(bits + ((i - first) * masked_categories + a) * masked_words, k, i + 1,
            [&](index j) { return counts + places.of(i, j) + (block * ci + a) * s.n_categories[j]; });
    }
    if (first == 0) add(all, k, 0, [&](index j) { return marginals + s.offsets[j] + block * s.n_categories[j]; });
  }
}

#else

constexpr bool has_masks = false;
constexpr index masked_scratch = 0, masked_rows = 2048, together_rows = 2048, masked_features = 16;
inline bool are_masked(index, index, index) { return false; }
inline bool is_column_masked(index, index, index, index) { return false; }
template <class U>
inline void add_column_under_masks(const structure_view&, const pair_codes<U>&, const row_order&, const double*, index,
                                   index, bool, index, index, index, index, const pair_places&, double*, double*,
                                   held_masks&, double*) {}
template <class U>
inline void add_under_masks(const structure_view&, const pair_codes<U>&, const double*, index, index, index, index,
                            index, const pair_places&, double*, double*, double*) {}

#endif

}  // namespace tallydraw::TALLYDRAW_ISA
