// What both counts of pairs begin with: a chunk of rows as plain codes, in tiles of features that every task may read.
#pragma once

#include <cstdint>

#include "tallydraw/codes.hpp"
#include "tallydraw/count_tiles.hpp"
#include "tallydraw/parallel.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// Where pair i < j of d features stands among all pairs in lexicographic order.
inline index pair_of(index i, index j, index d) { return i * (2 * d - i - 1) / 2 + (j - i - 1); }

/// Where the table of each pair i < j begins: at begins[i] + n_categories[i] * offsets[j]; begins is null where all
/// tables have `cells` cells, and lie in lexicographic order.
struct pair_places {
  const index* begins;
  const index* n_categories;
  const index* offsets;  // of the features' own counts
  index d, cells;
  index of(index i, index j) const {
    return begins ? begins[i] + n_categories[i] * offsets[j] : pair_of(i, j, d) * cells;
  }
};
inline pair_places make_places(const structure_view& s, const index* begins) {
  return {begins, s.n_categories, s.offsets, s.d, s.n_classes * s.n_categories[0] * s.n_categories[0]};
}

/// Codes x_j, or C_j where missing, of `rows` rows: row after row of the first `stretch` features, all or a multiple of
/// 64, then of the next. 64 codes may be read from any feature on; those past the end of a row are others'.
template <class U>
struct pair_codes {
  const U* codes;
  index d;
  index rows;
  index stretch;
  /// Features of tile t, which begins with feature 64 t.
  index width(index t) const {
    const index rest = d - t * tile_width;
    return rest < tile_width ? rest : tile_width;
  }
  /// Feature j of the first row; that of the next row is stride(j) further.
  const U* feature(index j) const {
    const index begin = j / stretch * stretch;
    return codes + begin * rows + (j - begin);
  }
  index stride(index j) const {
    const index rest = d - j / stretch * stretch;
    return rest < stretch ? rest : stretch;
  }
};

/// Bytes of codes of a chunk.
inline index pair_code_bytes(index rows, index d) { return 8 * (rows * d + tile_width); }

/// Encodes rows [row0, row1) into `codes`; incomplete[j] = 1 where feature j has a missing cell, `flags` being d bytes
/// a thread to find that with.
template <class U>
inline pair_codes<U> encode_pairs(const encoder& e, index row0, index row1, U* codes, std::uint8_t* incomplete,
                                  std::uint8_t* flags, int threads, first_index& bad) {
  constexpr index piece = 512, most_whole = 256;
  const index d = e.x.d, stretch = d <= most_whole ? d : tile_width;
  const pair_codes<U> out{codes, d, row1 - row0, stretch};
  const index pieces = (out.rows + piece - 1) / piece, parts = (d + stretch - 1) / stretch;
  const U* slot = static_cast<const U*>(e.slot);
  for (index i = 0; i < threads * d; ++i) flags[i] = 0;
  parallel_blocks(pieces * parts, 1, threads, [&](index task, index, int thread) {
    const index j0 = task / pieces * stretch, a = task % pieces * piece;
    const index b = a + piece < out.rows ? a + piece : out.rows;
    const index width = out.stride(j0);
    U* to = codes + j0 * out.rows + a * width;
    const unsigned met = encode(e, row0 + a, row0 + b, j0, j0 + width, to, static_cast<U*>(nullptr));
    if (met & met_bad) bad.report(first_bad(e, row0 + a, row0 + b));
    if (!(met & met_missing)) return;
    std::uint8_t* gone = flags + thread * d + j0;
    for (index r = a; r < b; ++r, to += width)
      for (index j = 0; j < width; ++j) gone[j] = static_cast<std::uint8_t>(gone[j] | (to[j] == slot[j0 + j] ? 1 : 0));
  });
  for (index j = 0; j < d; ++j) {
    incomplete[j] = 0;
    for (int thread = 0; thread < threads; ++thread)
      incomplete[j] = static_cast<std::uint8_t>(incomplete[j] | flags[thread * d + j]);
  }
  return out;
}

}  // namespace tallydraw::TALLYDRAW_ISA
