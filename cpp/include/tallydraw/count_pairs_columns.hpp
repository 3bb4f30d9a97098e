// Columns of bits of a chunk of rows, one a category of a feature, and the contingency tables that what they share
// leaves: where no cell of a feature is missing its last category needs no column, since the cells of the other ones and
// the marginal counts leave the rest to it.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "tallydraw/bit_columns.hpp"
#include "tallydraw/count_features.hpp"
#include "tallydraw/pair_codes.hpp"
#include "tallydraw/transpose.hpp"

namespace tallydraw::TALLYDRAW_ISA {

// Up to so many categories bits are faster than increments: the cells of a pair cost C^2 / 64 words a row.
#if defined(__AVX512BW__)
constexpr index few_bits = 16;
#elif defined(__AVX2__)
constexpr index few_bits = 12;
#else
constexpr index few_bits = 8;
#endif
constexpr index column_block = 4;  // columns counted against eight others at once

/// How a call is cut up; the same for the scratch it needs and for the work.
struct pair_plan {
  int threads;     // that the work is worth
  index rows;      // of a chunk
  index few;       // up to so many categories are columns of bits
  bool some_many;  // some features have more
  index columns;   // at most, a multiple of bit_lanes
  index complete;  // the same where no cell is missing
  index words;     // of a column, at most: the rows of every class begin a word
  index tiles;     // columns of the features of a task, at most
  // Bytes of the parts of the scratch.
  index encoder, codes, row, group, flags, features, bits, totals, counted;
  index thread_bytes;
  // Where threads take rows: words of a piece, and a thread's bytes of codes, bits and shared bits; 0 words where they
  // own tables.
  index piece_words, piece_codes, piece_bits, piece_shared;
};

/// Columns of a chunk: feature j has kept[j] of them, from first[j] on.
struct chunk_columns {
  index* first;  // [d + 1]
  index* kept;   // [d]
  std::uint64_t* bits;
  std::uint32_t* totals;  // [K, n_columns] bits set in the rows of a class
  index n_columns;        // a multiple of bit_lanes
  index binary;           // this feature and those after it have two categories, of which the first is kept
  bool fresh;             // the tables hold nothing yet: they are written, not added to
  index n_words;
  index* word;         // [K + 1]: the words of class k
  std::int32_t* rows;  // in order of their class
  index* group;        // [K + 1]: the rows of class k among these
  std::uint64_t* group_of(index q) const { return bits + q / bit_lanes * n_words * bit_lanes; }
  std::uint64_t* column(index q) const { return group_of(q) + q % bit_lanes; }
};

/// Word w of all columns of a tile: of m rows. Which bit is whose row is the same in every column, and matters to none.
template <class U>
inline void pack_rows(const chunk_columns& columns, const pair_codes<U>& codes, index tile, const std::int32_t* rows,
                      index m, index w) {
  const index width = codes.width(tile), j0 = tile * tile_width, stride = codes.stride(j0);
  const U* const from = codes.feature(j0);
  index most = 0;
  for (index j = j0; j < j0 + width; ++j) most = columns.kept[j] > most ? columns.kept[j] : most;
  U nobody[tile_width];  // stands for rows past the last
  for (U& code : nobody) code = static_cast<U>(~U{0});
  for (index c = 0; c < most; ++c) {
    // Bits of eight rows to a byte of each feature, then the eight bytes of a feature together.
    std::uint8_t bytes[8 * tile_width], turned[8 * tile_width];
    for (index part = 0; part < 8; ++part) {
      const U* eight[8];
      for (index i = 0; i < 8; ++i) eight[i] = 8 * part + i < m ? from + rows[8 * part + i] * stride : nobody;
      equal_bits(eight, static_cast<U>(c), bytes + part * tile_width);
    }
    const std::uint8_t* const words = transpose(bytes, turned, 8, tile_width);
    for (index j = 0; j < width; ++j) {
      const index q = columns.first[j0 + j];
      if (most == 1 && q % bit_lanes == 0 && j + 8 <= width && columns.first[j0 + j + 8] == q + 8) {  // side by side
        std::memcpy(columns.group_of(q) + w * bit_lanes, words + 8 * j, 64);
        j += 7;
      } else if (c < columns.kept[j0 + j]) {
        std::memcpy(columns.column(q + c) + w * bit_lanes, words + 8 * j, 8);
      }
    }
  }
}

/// Adds the table of features i < j in one class of n rows: `shared` is the row of i's first column, `stride` long; ni
/// and nj are the totals of their columns. What a complete feature's last category has, the others and the totals leave
/// to it.
inline void add_table(index ci, index cj, index ki, index kj, const std::uint32_t* shared, index stride,
                      const std::uint32_t* ni, const std::uint32_t* nj, index n, index* cells) {
  if (ki == 1 && kj == 1 && ci == 2 && cj == 2) {
    const index both = shared[0], i = ni[0], j = nj[0];
    cells[0] += both;
    cells[1] += i - both;
    cells[2] += j - both;
    cells[3] += n - i - j + both;
    return;
  }
  index rest[few_bits];  // of a column of the table
  for (index b = 0; b < kj; ++b) rest[b] = nj[b];
  index last = n;  // of its last row
  for (index a = 0; a < ki; ++a, shared += stride) {
    index left = ni[a];
    last -= left;
    for (index b = 0; b < kj; ++b) {
      cells[a * cj + b] += shared[b];
      left -= shared[b];
      rest[b] -= shared[b];
    }
    if (kj < cj) cells[a * cj + kj] += left;
  }
  if (ki == ci) return;
  for (index b = 0; b < kj; ++b) {
    cells[ki * cj + b] += rest[b];
    last -= rest[b];
  }
  if (kj < cj) cells[ki * cj + kj] += last;
}

/// Adds the tables of a feature with n others that follow each other, all of two categories of which the first is kept:
/// shared[l] and totals[l] are of the others, `total` is the feature's; tables begin `apart` cells, a number that may be
/// constant, from each other.
template <bool Fresh, class Apart>
inline void add_binary_tables(const std::uint32_t* shared, const std::uint32_t* totals, index total, index rows,
                              index n, Apart apart, index* counts) {
  for (index l = 0; l < n; ++l, counts += apart) {
    const index both = shared[l], other = totals[l];
    const index cells[4] = {both, total - both, other - both, rows - total - other + both};
    for (index c = 0; c < 4; ++c) counts[c] = Fresh ? cells[c] : counts[c] + cells[c];
  }
}

/// Adds the tables in class k of features i in [first, last) of few categories and of all j > i; row q of `shared`,
/// n_columns long, is that of the q-th column from the first one of `first` on.
inline void add_tables(const structure_view& s, const chunk_columns& columns, index few, index first, index last,
                       index k, const std::uint32_t* shared, const pair_places& places, index* counts) {
  const index stride = columns.n_columns, rows = columns.group[k + 1] - columns.group[k];
  const std::uint32_t* const totals = columns.totals + k * stride;
  for (index i = first; i < last; ++i) {
    const index ci = s.n_categories[i], p = columns.first[i];
    if (ci > few) continue;
    const std::uint32_t* const row = shared + (p - columns.first[first]) * stride;
    for (index j = i + 1; j < s.d; ++j) {
      const index cj = s.n_categories[j], q = columns.first[j];
      index* const cells = counts + places.of(i, j) + k * ci * cj;
      if (i >= columns.binary) {
        constexpr std::integral_constant<index, 4> four{};  // side by side, which compilers make vectors of
        if (columns.fresh)
          add_binary_tables<true>(row + q, totals + q, totals[p], rows, s.d - j, four, cells);
        else if (s.n_classes == 1)
          add_binary_tables<false>(row + q, totals + q, totals[p], rows, s.d - j, four, cells);
        else
          add_binary_tables<false>(row + q, totals + q, totals[p], rows, s.d - j, 4 * s.n_classes, cells);
        break;
      }
      if (cj <= few)
        add_table(ci, cj, columns.kept[i], columns.kept[j], row + q, stride, totals + p, totals + q, rows, cells);
    }
  }
}

/// Lays out the columns of a chunk of m rows and where the words of a class begin; incomplete[j]: feature j has a
/// missing cell.
inline void lay_out_columns(const structure_view& s, index few, const std::uint8_t* incomplete, const index* y, index m,
                            chunk_columns& columns) {
  columns.first[0] = 0;
  for (index j = 0; j < s.d; ++j) {
    const index c = s.n_categories[j];
    columns.kept[j] = c > few ? 0 : incomplete[j] ? c : c - 1;
    columns.first[j + 1] = columns.first[j] + columns.kept[j];
  }
  columns.n_columns = (columns.first[s.d] + bit_lanes - 1) / bit_lanes * bit_lanes;
  columns.binary = s.d;
  while (columns.binary > 0 && s.n_categories[columns.binary - 1] == 2 && columns.kept[columns.binary - 1] == 1)
    --columns.binary;
  group_rows(y, m, s.n_classes, columns.rows, columns.group);
  columns.word[0] = 0;
  for (index k = 0; k < s.n_classes; ++k)
    columns.word[k + 1] = columns.word[k] + (columns.group[k + 1] - columns.group[k] + 63) / 64;
  columns.n_words = columns.word[s.n_classes];
}

/// The same of rows [row0, row1), no cell of which is missing, in their own order: from the caller's codes where these
/// are bytes of rows, 0 or 1; otherwise they are encoded in `codes`. What encode() met; a bad code is reported.
inline unsigned pack_piece(const encoder& e, index row0, index row1, const chunk_columns& columns, std::uint8_t* codes,
                           index w0, first_index& bad) {
  const codes_view& x = e.x;
  const index d = x.d, rows = row1 - row0, tiles = (d + tile_width - 1) / tile_width,
              apart = columns.n_words * bit_lanes;
  std::uint64_t* const to = columns.bits + w0 * bit_lanes;
  const bool binary = columns.binary == 0;
  unsigned met = 0;
  if (binary && !e.slots && x.type == code_type::u8 && (d == 1 || x.column_stride == 1) && x.row_stride >= d) {
    const auto* const from = static_cast<const std::uint8_t*>(x.data);
    const std::uint8_t* const end = from + (x.n - 1) * x.row_stride + d;
    if (pack_binary_rows(from + row0 * x.row_stride, x.row_stride, rows, d, end, to, apart)) met = met_bad;
  } else {
    met = encode(e, row0, row1, 0, d, codes, static_cast<std::uint8_t*>(nullptr));
    if (met & met_missing) return met;
    const pair_codes<std::uint8_t> piece{codes, d, rows, d};
    if (binary)
      pack_binary_rows(codes, d, rows, d, codes + rows * d + tile_width, to, apart);
    else
      for (index r = 0; r < rows; r += 64)
        for (index t = 0; t < tiles; ++t)
          pack_rows(columns, piece, t, columns.rows + r, rows - r < 64 ? rows - r : 64, w0 + r / 64);
  }
  if (met & met_bad) bad.report(first_bad(e, row0, row1));
  return met;
}

/// Adds the counts of the features of few categories, from the totals of their columns.
inline void add_marginals(const structure_view& s, const chunk_columns& columns, index few, index* marginals) {
  for (index j = 0; j < s.d; ++j) {
    const index c = s.n_categories[j];
    if (c > few) continue;
    for (index k = 0; k < s.n_classes; ++k) {
      index* cells = marginals + s.offsets[j] + k * c;
      index rest = columns.group[k + 1] - columns.group[k];
      for (index b = 0; b < columns.kept[j]; ++b) {
        const index total = columns.totals[k * columns.n_columns + columns.first[j] + b];
        cells[b] += total;
        rest -= total;
      }
      if (columns.kept[j] < c) cells[c - 1] += rest;
    }
  }
}

}  // namespace tallydraw::TALLYDRAW_ISA
