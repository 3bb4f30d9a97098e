// Contingency tables of all pairs of features with weights. Every cell adds its weights in row order, so a table is one
// thread's and rows go by one after the other. Where the features of a tile have few categories they are added side by
// side, to all of a table's cells of a row a weight or zero, which changes nothing: vectors of additions instead of one
// scattered addition a pair. Several columns of weights (the classes of a mixture) are added side by side, to the one
// cell that a row has of a pair. Sums begin at what `counts` hold, so the bits do not depend on chunks.
#pragma once

#include <cstdint>

#include "tallydraw/count_features.hpp"
#include "tallydraw/doubles.hpp"
#include "tallydraw/pair_codes.hpp"

namespace tallydraw::TALLYDRAW_ISA {

constexpr index weighted_rows = 2048;      // of a chunk
constexpr index feature_block = 8;         // features of a task, each against a tile of tile_width others
constexpr index weighted_cells = 1 << 16;  // of a task's private sums, at most
constexpr index least_columns = 4;         // of weights that are added at once
constexpr index column_cells = 1 << 11;    // of the sums that they are added to at a time: half of L1
// Up to so many categories the cells that add zero cost less than one scattered addition.
#if defined(__AVX512F__)
constexpr index few_weighted = 12;
#elif defined(__AVX2__)
constexpr index few_weighted = 6;
#else
constexpr index few_weighted = 4;
#endif

/// Scratch that count_pairs_weighted needs, in words of 64 bits.
inline index count_pairs_weighted_scratch(const structure_view& s, int threads) {
  return (round_up(encoder_bytes(s.d)) + round_up(pair_code_bytes(weighted_rows, s.d)) +
          round_up((threads + 1) * s.d)) /
             8 +
         threads * (weighted_cells + few_weighted * tile_width);
}

/// The weights of a chunk: row r has columns[r * n_columns + w] for each block w of tables, or, where y is given, one,
/// for the block of its class.
struct weight_rows {
  const double* columns;
  const index* y;
  index n_columns;
};

/// Features [first, last) against the tile's, side by side. `sums` holds ([K,] last - first, A, B, tile_width) cells, A
/// and B being the most categories on either side; `met` (B, tile_width).
template <class U>
inline void add_side_by_side(const structure_view& s, const pair_codes<U>& codes, const weight_rows& weights, index w,
                             index first, index last, index tile, index most_a, index most_b, const index* pair_offsets,
                             double* counts, double* sums, double* met) {
  const index j0 = tile * tile_width, width = codes.width(tile), n = last - first;
  const index block = most_b * tile_width, feature = most_a * block;
  const auto each_cell = [&](auto visit) {  // of pairs i < j: (private, public)
    for (index k = 0; k < (weights.y ? s.n_classes : 1); ++k)
      for (index i = first; i < last; ++i)
        for (index j = i + 1 > j0 ? i + 1 : j0; j < j0 + width; ++j) {
          const index ci = s.n_categories[i], cj = s.n_categories[j];
          double* cells = counts + pair_offsets[pair_of(i, j, s.d)] + (weights.y ? k : w) * ci * cj;
          double* own = sums + (k * n + i - first) * feature + j - j0;
          for (index a = 0; a < ci; ++a)
            for (index b = 0; b < cj; ++b) visit(own[a * block + b * tile_width], cells[a * cj + b]);
        }
  };
  const index filled = (weights.y ? s.n_classes : 1) * n * feature;
  for (index i = 0; i < filled; ++i) sums[i] = 0.0;
  each_cell([](double& own, double& cell) { own = cell; });
  const U* const others = codes.feature(j0);
  const index wi = codes.stride(first), wj = codes.stride(j0);
  for (index r = 0; r < codes.rows; ++r) {
    const double weight = weights.columns[r * weights.n_columns + w];
    const U* const row = others + r * wj;
    for (index b = 0; b < most_b; ++b)
      for (index l = 0; l < tile_width; ++l) met[b * tile_width + l] = row[l] == static_cast<U>(b) ? weight : 0.0;
    double* own = sums + (weights.y ? weights.y[r] : 0) * n * feature;
    const U* const mine = codes.feature(first) + r * wi;
    for (index i = 0; i < n; ++i, own += feature) {
      const auto a = static_cast<index>(mine[i]);
      if (a >= s.n_categories[first + i]) continue;
      double* const cells = own + a * block;
      for (index z = 0; z < block; ++z) cells[z] += met[z];
    }
  }
  each_cell([](double& own, double& cell) { cell = own; });
}

/// Features [first, last) against the tile's j > i, every column of weights at once: `sums` holds, columns innermost,
/// the cells of as many pairs as fit.
template <class U>
inline void add_columns(const structure_view& s, const pair_codes<U>& codes, const weight_rows& weights, index first,
                        index last, index tile, index most_a, index most_b, const index* pair_offsets, double* counts,
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
          double* cells = counts + pair_offsets[pair_of(i, j, s.d)];
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

/// Feature i against the tile's features j > i, cell by cell.
template <class U>
inline void add_scattered(const structure_view& s, const pair_codes<U>& codes, const weight_rows& weights, index i,
                          index tile, const index* pair_offsets, double* counts) {
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
      double* cell = counts + pair_offsets[pair_of(i, j, s.d)] + a * cj + b;
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
                                  const index* pair_offsets, const double* weights, double* marginals, double* counts,
                                  void* scratch, int threads) {
  const index d = s.d, n_columns = y ? 1 : s.n_classes;
  char* part = static_cast<char*>(scratch);
  const encoder e = make_encoder(x, rules, s, part);
  part += round_up(encoder_bytes(d));
  void* const lent = part;
  part += round_up(pair_code_bytes(weighted_rows, d));
  auto* flags = reinterpret_cast<std::uint8_t*>(part);
  part += round_up((threads + 1) * d);
  auto* own = reinterpret_cast<double*>(part);
  const index tiles = (d + tile_width - 1) / tile_width, blocks = (d + feature_block - 1) / feature_block;
  const auto most_of = [&](index begin, index end) {
    index most = 1;
    for (index j = begin; j < end; ++j) most = s.n_categories[j] > most ? s.n_categories[j] : most;
    return most;
  };

  first_index bad;
  visit_unsigned(e.tile, [&](auto u) {
    using U = decltype(u);
    for (index row0 = 0; row0 < x.n; row0 += weighted_rows) {
      const index row1 = row0 + weighted_rows < x.n ? row0 + weighted_rows : x.n;
      const weight_rows chunk{weights + row0 * n_columns, y ? y + row0 : nullptr, n_columns};
      const auto codes = encode_pairs(e, row0, row1, static_cast<U*>(lent), flags, flags + d, threads, bad);
      if (bad.get() >= 0) return;
      parallel_blocks(d, feature_block, threads, [&](index first, index last, int) {
        for (index j = first; j < last; ++j) {
          const U* mine = codes.feature(j);
          const index c = s.n_categories[j];
          for (index r = 0; r < codes.rows; ++r, mine += codes.stride(j)) {
            const auto a = static_cast<index>(*mine);
            if (a >= c) continue;
            for (index w = 0; w < n_columns; ++w)
              marginals[s.offsets[j] + (y ? chunk.y[r] : w) * c + a] += chunk.columns[r * n_columns + w];
          }
        }
      });
      parallel_blocks(blocks * tiles, 1, threads, [&](index task, index, int thread) {
        const index tile = task % tiles, first = task / tiles * feature_block;
        const index last = first + feature_block < d ? first + feature_block : d;
        const index j0 = tile * tile_width, width = codes.width(tile);
        if (j0 + width <= first + 1) return;
        const index most_a = most_of(first, last), most_b = most_of(j0, j0 + width);
        const index cells = (y ? s.n_classes : 1) * (last - first) * most_a * most_b * tile_width;
        double* const sums = own + thread * (weighted_cells + few_weighted * tile_width);
        if (n_columns >= least_columns && (last - first) * most_a * most_b * n_columns <= weighted_cells) {
          add_columns(s, codes, chunk, first, last, tile, most_a, most_b, pair_offsets, counts, sums);
          return;
        }
        if (width < 16 || most_b > few_weighted || cells > weighted_cells) {
          for (index i = first; i < last; ++i) add_scattered(s, codes, chunk, i, tile, pair_offsets, counts);
          return;
        }
        for (index w = 0; w < n_columns; ++w)
          add_side_by_side(s, codes, chunk, w, first, last, tile, most_a, most_b, pair_offsets, counts, sums,
                           sums + weighted_cells);
      });
    }
  });
  return bad.get();
}

}  // namespace tallydraw::TALLYDRAW_ISA
