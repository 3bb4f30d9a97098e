// Contingency tables of all pairs of features with weights. Every cell adds its weights in row order, so a table is one
// thread's. Features of few categories are added side by side: under masks (count_pairs_masked.hpp), or, where vectors
// have none, 64 rows are laid out, of each of which a vector has its weight where a feature has a category and zero,
// which changes nothing, where it has another. The rows where another feature has its category are bits; of these rows,
// in their order, vectors are added to sums that stay in registers. Several columns of weights (the classes of a
// mixture) are added side by side to the one cell that a row has of a pair; all else is added cell by cell. Sums begin
// at what `counts` hold, so the bits do not depend on chunks.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "tallydraw/bit_columns.hpp"
#include "tallydraw/count_features.hpp"
#include "tallydraw/count_pairs_masked.hpp"
#include "tallydraw/doubles.hpp"
#include "tallydraw/pair_codes.hpp"

namespace tallydraw::TALLYDRAW_ISA {

constexpr index weighted_rows = masked_rows;  // of a chunk, at most
constexpr index feature_block = 16;           // features of a task, each against a tile of tile_width others
constexpr index word_rows = 64;               // rows whose weights are laid out at once
constexpr index weighted_cells = 1 << 16;     // of a task's private sums, at most
constexpr index least_columns = 4;            // of weights that are added at once
constexpr index column_features = 8;          // against a tile, of which they are added
constexpr index column_cells = 1 << 11;       // of the sums that they are added to at a time: half of L1
constexpr index side = 8;                     // features of a vector
constexpr index most_groups = 24;             // of these rows by class and category: fewer each are not worth it
// Up to so many categories the cells that add zero cost less than one scattered addition, or than columns side by side.
#if defined(__AVX2__)
constexpr index few_weighted = 6, few_columns = 2;
#else
constexpr index few_weighted = 4, few_columns = 1;
#endif

/// Sums side by side in four registers; two of these are added to at once.
using sum_group = doubles<4 * wide_lanes>;
constexpr index group_lanes = 4 * wide_lanes;

/// Sums, or weights of a row, of all categories of a tile: [features / side, categories, side], in whole groups.
inline index tile_sums(index width, index categories) {
  const index lanes = (width + side - 1) / side * side * categories;
  return (lanes + group_lanes - 1) / group_lanes * group_lanes;
}

/// Scratch of a thread in words: its sums, and the weights of word_rows rows of a tile; or what masks need.
inline index weighted_words() {
  return has_masks ? std::max(weighted_cells, masked_scratch)
                   : weighted_cells + tile_sums(tile_width, few_weighted) * word_rows;
}

static_assert(together_rows <= weighted_rows && masked_features == feature_block);

/// Scratch that count_pairs_weighted needs, in words of 64 bits.
inline index count_pairs_weighted_scratch(const structure_view& s, int threads) {
  return (round_up(encoder_bytes(s.d)) + round_up(pair_code_bytes(weighted_rows, s.d)) + round_up((threads + 1) * s.d) +
          round_up(4 * weighted_rows) + round_up(8 * (s.n_classes + 1)) +
          round_up(static_cast<index>(sizeof(held_masks)) * threads)) /
             8 +
         threads * weighted_words();
}

/// The weights of a chunk: row r has columns[r * n_columns + w] for each block w of tables, or, where y is given, one,
/// for the block of its class.
struct weight_rows {
  const double* columns;
  const index* y;
  index n_columns;
};

/// to[l] = `weight` where met[l] is -1, 0 where it is 0, for l < side.
inline void lay_out_side(const std::int8_t* met, double weight, double* to) {
#if defined(__AVX2__)
  const __m256i bits = _mm256_set1_epi64x(static_cast<long long>(bits_of(weight)));
  for (index l = 0; l < side; l += 4) {
    std::int32_t four;
    std::memcpy(&four, met + l, sizeof four);
    const __m256i mask = _mm256_cvtepi8_epi64(_mm_cvtsi32_si128(four));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + l), _mm256_and_si256(mask, bits));
  }
#else
  std::uint64_t lanes[side];
  for (index l = 0; l < side; ++l) lanes[l] = bits_of(weight) & static_cast<std::uint64_t>(std::int64_t{met[l]});
  std::memcpy(to, lanes, sizeof lanes);
#endif
}

/// Lays out the weights of a row, [tile_sums / group_lanes] groups that are word_rows groups apart: of features
/// [from, width) `weight` where one has the category, zero elsewhere. `from` is a multiple of `side`.
template <class U>
inline void lay_out_weight(const U* codes, index from, index width, index categories, double weight, double* laid) {
  for (index b = 0; b < categories; ++b) {
    std::int8_t met[tile_width];
    for (index l = 0; l < tile_width; ++l) met[l] = static_cast<std::int8_t>(codes[l] == static_cast<U>(b) ? -1 : 0);
    for (index j = from; j < width; j += side) {
      const index at = j * categories + b * side;
      lay_out_side(met + j, weight, laid + at / group_lanes * word_rows * group_lanes + at % group_lanes);
    }
  }
}

/// Adds what is laid out of the rows, in their order, to G groups of sums side by side.
template <index G>
inline void add_rows_of(std::uint64_t rows, const double* laid, double* sums) {
  sum_group sum[G];
  for (index g = 0; g < G; ++g) sum[g].load(sums + g * group_lanes);
  for (; rows != 0; rows &= rows - 1) {
    const double* const row = laid + lowest_bit(rows) * group_lanes;
    for (index g = 0; g < G; ++g) sum[g].add(row + g * word_rows * group_lanes);
  }
  for (index g = 0; g < G; ++g) sum[g].store(sums + g * group_lanes);
}

/// Features [first, last) against the tile's j > i, side by side, and where they are the first ones of all the tile's
/// marginal sums: column w of the weights. `sums` holds, of each class, of each category of each feature and of all
/// rows, tile_sums(width, most_b); `laid` what lay_out_weight needs.
template <class U>
inline void add_laid_out(const structure_view& s, const pair_codes<U>& codes, const weight_rows& weights, index w,
                         index first, index last, index tile, index most_b, const pair_places& places,
                         double* marginals, double* counts, double* sums, double* laid) {
  const index j0 = tile * tile_width, width = codes.width(tile), n = last - first;
  const index n_classes = weights.y ? s.n_classes : 1, table = tile_sums(width, most_b);
  index begin[feature_block + 1] = {};  // of the categories of each feature among all
  for (index i = 0; i < n; ++i) begin[i + 1] = begin[i] + s.n_categories[first + i];
  const index tables = begin[n] + 1;        // of a class
  const auto each_cell = [&](auto visit) {  // of pairs i < j, and of features: (private, public)
    for (index k = 0; k < n_classes; ++k)
      for (index j = j0; j < j0 + width; ++j) {
        const index cj = s.n_categories[j], of_class = weights.y ? k : w;
        double* const own = sums + k * tables * table + (j - j0) / side * side * most_b + (j - j0) % side;
        for (index i = first; i < (last < j ? last : j); ++i) {
          const index ci = s.n_categories[i];
          double* const cells = counts + places.of(i, j) + of_class * ci * cj;
          for (index a = 0; a < ci; ++a)
            for (index b = 0; b < cj; ++b) visit(own[(begin[i - first] + a) * table + b * side], cells[a * cj + b]);
        }
        if (first > 0) continue;
        double* const cells = marginals + s.offsets[j] + of_class * cj;
        for (index b = 0; b < cj; ++b) visit(own[begin[n] * table + b * side], cells[b]);
      }
  };
  for (index i = 0; i < n_classes * tables * table; ++i) sums[i] = 0.0;
  each_cell([](double& own, double& cell) { own = cell; });
  // Lanes of no feature, and of those that are before all of these, stay zero.
  for (index i = 0; i < word_rows * table; ++i) laid[i] = 0.0;
  const index from = first > j0 ? (first + 1 - j0) / side * side : 0;

  const index wi = codes.stride(first), wj = codes.stride(j0);
  std::uint64_t rows[feature_block * few_weighted];
  for (index r0 = 0; r0 < codes.rows; r0 += word_rows) {
    const index m = codes.rows - r0 < word_rows ? codes.rows - r0 : word_rows;
    U columns[feature_block * word_rows] = {}, turned[feature_block * word_rows];
    for (index r = 0; r < m; ++r) {
      std::memcpy(columns + r * feature_block, codes.feature(first) + (r0 + r) * wi, feature_block * sizeof(U));
      lay_out_weight(codes.feature(j0) + (r0 + r) * wj, from, width, most_b,
                     weights.columns[(r0 + r) * weights.n_columns + w], laid + r * group_lanes);
    }
    const U* const column = transpose(columns, turned, word_rows, feature_block);
    for (index i = 0; i < n; ++i) bits_equal_to_each(column + i * word_rows, begin[i + 1] - begin[i], rows + begin[i]);
    for (index k = 0; k < n_classes; ++k) {
      std::uint64_t mine = ~std::uint64_t{0} >> (word_rows - m);
      for (index r = 0; weights.y && r < m; ++r)
        if (weights.y[r0 + r] != k) mine &= ~(std::uint64_t{1} << r);
      double* const own = sums + k * tables * table;
      // Which categories have a pair with a feature that has sums before lane `end`: the first so many.
      const auto with_pairs = [&](index end) {
        const index past = j0 + ((end - 1) / (side * most_b) + 1) * side;
        return begin[std::clamp(past - 1 - first, index{0}, n)];
      };
      for (index g = 0; g < table; g += 2 * group_lanes) {
        const double* const weight = laid + g * word_rows;
        const bool two = g + group_lanes < table;
        const index in_first = with_pairs(g + group_lanes), in_second = two ? with_pairs(g + 2 * group_lanes) : 0;
        const auto add_table = [&](index a, std::uint64_t chosen) {
          if (two) return add_rows_of<2>(chosen, weight, own + a * table + g);
          add_rows_of<1>(chosen, weight, own + a * table + g);
        };
        for (index a = 0; a < in_first; ++a) add_table(a, rows[a] & mine);
        for (index a = in_first; a < in_second; ++a)
          add_rows_of<1>(rows[a] & mine, weight + word_rows * group_lanes, own + a * table + g + group_lanes);
        if (first == 0) add_table(begin[n], mine);
      }
    }
  }
  each_cell([](double& own, double& cell) { cell = own; });
}

/// Features [first, last) against the tile's j > i, every column of weights at once: `sums` holds, columns innermost,
/// the cells of as many pairs as fit.
template <class U>
inline void add_columns(const structure_view& s, const pair_codes<U>& codes, const weight_rows& weights, index first,
                        index last, index tile, index most_a, index most_b, const pair_places& places, double* counts,
                        double* sums) {
  const index W = weights.n_columns, pair = most_a * most_b * W;
  const index begin = tile * tile_width, end = begin + codes.width(tile);
  const index wi = codes.stride(first), wj = codes.stride(begin);
  const index some = column_cells / ((last - first) * pair), width = some < 1 ? 1 : some;
  for (index j0 = begin; j0 < end; j0 += width) {
    const index j1 = j0 + width < end ? j0 + width : end;
    const auto each_cell = [&](auto visit) {  // of pairs i < j: (private, public)
      for (index i = first; i < last; ++i)
        for (index j = i + 1 > j0 ? i + 1 : j0; j < j1; ++j) {
          const index ci = s.n_categories[i], cj = s.n_categories[j];
          double* cells = counts + places.of(i, j);
          double* own = sums + ((i - first) * width + j - j0) * pair;
          for (index a = 0; a < ci; ++a)
            for (index b = 0; b < cj; ++b)
              for (index w = 0; w < W; ++w) visit(own[(a * most_b + b) * W + w], cells[(w * ci + a) * cj + b]);
        }
    };
    if (j1 <= first + 1) continue;
    each_cell([](double& own, double& cell) { own = cell; });
    const U* mine = codes.feature(first);
    const U* row = codes.feature(begin) - begin;
    const double* weight = weights.columns;
    for (index r = 0; r < codes.rows; ++r, mine += wi, row += wj, weight += W)
      for (index i = first; i < last; ++i) {
        const auto a = static_cast<index>(mine[i - first]);
        if (a >= s.n_categories[i]) continue;
        double* const own = sums + (i - first) * width * pair + a * most_b * W;
        for (index j = i + 1 > j0 ? i + 1 : j0; j < j1; ++j) {
          const auto b = static_cast<index>(row[j]);
          if (b < s.n_categories[j]) add_vector(weight, W, own + (j - j0) * pair + b * W);
        }
      }
    each_cell([](double& own, double& cell) { cell = own; });
  }
}

/// The marginal sums of features [first, last).
template <class U>
inline void add_marginals(const structure_view& s, const pair_codes<U>& codes, const weight_rows& weights, index first,
                          index last, double* marginals) {
  const index W = weights.n_columns, stride = codes.stride(first);
  const U* row = codes.feature(first) - first;
  for (index r = 0; r < codes.rows; ++r, row += stride) {
    const double* const weight = weights.columns + r * W;
    for (index j = first; j < last; ++j) {
      const index c = s.n_categories[j], a = static_cast<index>(row[j]);
      if (a >= c) continue;
      double* const cell = marginals + s.offsets[j] + (weights.y ? weights.y[r] * c : 0) + a;
      for (index w = 0; w < W; ++w) cell[w * c] += weight[w];
    }
  }
}

/// Feature i against the tile's features j > i, cell by cell.
template <class U>
inline void add_scattered(const structure_view& s, const pair_codes<U>& codes, const weight_rows& weights, index i,
                          index tile, const pair_places& places, double* counts) {
  const index j0 = tile * tile_width, width = codes.width(tile);
  const index ci = s.n_categories[i], wi = codes.stride(i), wj = codes.stride(j0);
  const U* mine = codes.feature(i);
  const U* row = codes.feature(j0);
  for (index r = 0; r < codes.rows; ++r, mine += wi, row += wj) {
    const auto a = static_cast<index>(*mine);
    if (a >= ci) continue;
    const double* weight = weights.columns + r * weights.n_columns;
    for (index j = i + 1 > j0 ? i + 1 : j0; j < j0 + width; ++j) {
      const index cj = s.n_categories[j], b = static_cast<index>(row[j - j0]);
      if (b >= cj) continue;
      double* cell = counts + places.of(i, j) + a * cj + b;
      if (weights.y)
        cell[weights.y[r] * ci * cj] += *weight;
      else
        for (index w = 0; w < weights.n_columns; ++w) cell[w * ci * cj] += weight[w];
    }
  }
}

/// count_pairs with weights (n, n_columns) in float64: with classes y one column, without n_classes of them, column w
/// for the w-th block of every table. Every cell adds its weights in row order.
inline index count_pairs_weighted(const codes_view& x, const index* y, const code_rules& rules, const structure_view& s,
                                  const index* pair_begins, const double* weights, double* marginals, double* counts,
                                  void* scratch, int threads) {
  const pair_places places = make_places(s, pair_begins);
  const index d = s.d, n_columns = y ? 1 : s.n_classes;
  char* part = static_cast<char*>(scratch);
  const encoder e = make_encoder(x, rules, s, part);
  part += round_up(encoder_bytes(d));
  void* const lent = part;
  part += round_up(pair_code_bytes(weighted_rows, d));
  auto* flags = reinterpret_cast<std::uint8_t*>(part);
  part += round_up((threads + 1) * d);
  auto* const order = reinterpret_cast<std::int32_t*>(part);
  part += round_up(4 * weighted_rows);
  auto* const group = reinterpret_cast<index*>(part);
  part += round_up(8 * (s.n_classes + 1));
  auto* const held = reinterpret_cast<held_masks*>(part);
  part += round_up(static_cast<index>(sizeof(held_masks)) * threads);
  auto* own = reinterpret_cast<double*>(part);
  const index tiles = (d + tile_width - 1) / tile_width, blocks = (d + feature_block - 1) / feature_block;
  const index most_rows = y || n_columns < least_columns ? weighted_rows : together_rows;
  const auto most_of = [&](index begin, index end) {
    index most = 1;
    for (index j = begin; j < end; ++j) most = s.n_categories[j] > most ? s.n_categories[j] : most;
    return most;
  };

  first_index bad;
  visit_unsigned(e.tile, [&](auto u) {
    using U = decltype(u);
    for (index row0 = 0; row0 < x.n; row0 += most_rows) {
      const index row1 = row0 + most_rows < x.n ? row0 + most_rows : x.n;
      const weight_rows chunk{weights + row0 * n_columns, y ? y + row0 : nullptr, n_columns};
      const auto codes = encode_pairs(e, row0, row1, static_cast<U*>(lent), flags, flags + d, threads, bad);
      if (bad.get() >= 0) return;
      if (has_masks) group_rows(chunk.y, codes.rows, s.n_classes, order, group);
      for (int thread = 0; thread < threads; ++thread) held[thread] = {-1, 0};
      parallel_blocks(blocks * tiles, 1, threads, [&](index task, index, int thread) {
        const index tile = task / blocks, first = task % blocks * feature_block;  // a thread keeps the masks of a tile
        const index last = first + feature_block < d ? first + feature_block : d;
        const index j0 = tile * tile_width, width = codes.width(tile);
        if (first > 0 && j0 + width <= first + 1) return;
        const index most_a = most_of(first, last), most_b = most_of(j0, j0 + width);
        double* const sums = own + thread * weighted_words();
        const index classes = y ? s.n_classes : 1;
        const bool together = !y && are_masked(most_a, most_b, n_columns);
        if (!together && is_column_masked(most_a, most_b, n_columns, classes)) {
          for (index w = 0; w < n_columns; ++w)
            add_column_under_masks(s, codes, {order, group}, chunk.columns, n_columns, w, y != nullptr, first, last,
                                   tile, most_b, places, marginals, counts, held[thread], sums);
          return;
        }
        held[thread].tile = -1;
        if (together)
          return add_under_masks(s, codes, chunk.columns, n_columns, first, last, tile, most_b, places, marginals,
                                 counts, sums);
        if constexpr (!has_masks) {
          const index most = n_columns < least_columns ? few_weighted : few_columns;
          if (classes * most_a <= most_groups && most_a <= few_weighted && most_b <= most) {
            // What one feature needs, and the marginal sums: features share what room there is.
            const index room = weighted_cells / (classes * (most_a + 1) * tile_sums(width, most_b));
            for (index i = first; i < last; i += room)
              for (index w = 0; w < n_columns; ++w)
                add_laid_out(s, codes, chunk, w, i, i + room < last ? i + room : last, tile, most_b, places, marginals,
                             counts, sums, sums + weighted_cells);
            return;
          }
        }
        if (first == 0) add_marginals(s, codes, chunk, j0, j0 + width, marginals);
        const bool small = std::max({most_a, most_b, n_columns}) <= weighted_cells / column_features;  // to multiply
        if (n_columns >= least_columns && small && most_a * most_b <= weighted_cells / column_features / n_columns) {
          for (index i = first; i < last; i += column_features)
            add_columns(s, codes, chunk, i, i + column_features < last ? i + column_features : last, tile, most_a,
                        most_b, places, counts, sums);
          return;
        }
        for (index i = first; i < last; ++i) add_scattered(s, codes, chunk, i, tile, places, counts);
      });
    }
  });
  return bad.get();
}

}  // namespace tallydraw::TALLYDRAW_ISA
