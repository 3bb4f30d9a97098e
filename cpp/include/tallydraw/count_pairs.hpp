// Contingency tables of all pairs of features. Features of few categories are columns of bits (bit_columns.hpp), and a
// cell is the number of bits two columns share; where no cell of a feature is missing its last category needs no
// column, since the cells of the other ones and the marginal counts leave the rest to it. A pair with a feature of more
// categories is counted cell by cell. All give the same integers.
// Threads own tables; but many rows of few columns, of which no cell is missing and without a class, are dealt to the
// threads, which pack some and count them while they are in cache, and add up what each has found.
#pragma once

#include <algorithm>
#include <atomic>
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

/// Where the table of each pair begins: told, or where all features have as many categories one after the other.
struct pair_places {
  const index* offsets;  // null where all tables have `cells` cells
  index cells;
  index operator[](index p) const { return offsets ? offsets[p] : p * cells; }
};
inline pair_places make_places(const structure_view& s, const index* offsets) {
  return {offsets, offsets ? 0 : s.n_classes * s.n_categories[0] * s.n_categories[0]};
}

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

/// Rows that are encoded and packed at once: their codes stay in the nearest cache.
inline index piece_rows(index d) { return std::clamp((index{1} << 15) / (d + 1) / 64 * 64, index{64}, index{512}); }

/// Plans for threads that take rows, where that is worth it.
inline void plan_pieces(const codes_view& x, const structure_view& s, pair_plan& plan) {
  constexpr index most_columns = 256, least_words = 64, most_words = 64;
  const index threads = plan.threads, columns = plan.complete, words = (x.n + 63) / 64;
  if (plan.some_many || s.n_classes > 1 || columns > most_columns || words < 2 * least_words) return;
  const index rounds = (words + most_words * threads - 1) / (most_words * threads);
  const index each = (words + rounds * threads - 1) / (rounds * threads);
  plan.piece_words = std::clamp((each + 7) / 8 * 8, least_words / 2, most_words);
  plan.counted = round_up(words / plan.piece_words + 2);
  plan.piece_codes = round_up(64 * plan.piece_words * s.d + tile_width);
  plan.piece_bits = round_up(8 * columns * plan.piece_words);
  plan.piece_shared = round_up(4 * columns * (columns + 1));
  plan.thread_bytes = std::max(plan.thread_bytes, plan.piece_codes + plan.piece_bits + plan.piece_shared);
}

inline pair_plan plan_pairs(const codes_view& x, const structure_view& s, int threads) {
  constexpr index bit_bytes = 1 << 20;  // of all columns: they stay in cache
  constexpr index least_rows = 1 << 12, most_rows = 1 << 16;
  pair_plan plan{};
  plan.few = x.n / s.n_classes >= 32 ? few_bits : 0;  // a word and a scattered table are worth so many increments
  index columns = 0, kept = 0, widest = 2 * column_block;
  for (index j = 0; j < s.d; ++j) {
    const index c = s.n_categories[j];
    plan.some_many = plan.some_many || c > plan.few;
    columns += c <= plan.few ? c : 0;
    kept += c <= plan.few ? c - 1 : 0;
  }
  plan.columns = (columns + bit_lanes - 1) / bit_lanes * bit_lanes;
  // Words of codes, and of eight columns against another, that a thread is worth.
  constexpr index thread_work = 1 << 16;
  plan.complete = (kept + bit_lanes - 1) / bit_lanes * bit_lanes;
  const index work = (x.n + 63) / 64 * (s.d + plan.complete * plan.complete / 16);
  plan.threads = plan.some_many ? threads : static_cast<int>(std::min<index>(threads, 1 + work / thread_work));
  plan.tiles = widest + few_bits + column_block;
  plan.rows = 8 * bit_bytes / (plan.columns + 64);
  plan.rows = std::clamp(plan.rows / 64 * 64, least_rows, most_rows);
  plan.rows = std::clamp(x.n, index{1}, plan.rows);
  plan.words = plan.rows / 64 + s.n_classes + 1;
  plan.encoder = round_up(encoder_bytes(s.d));
  plan.codes = round_up(pair_code_bytes(plan.rows, s.d) + plan.threads * (piece_rows(s.d) * s.d + tile_width));
  plan.row = round_up(4 * plan.rows);
  plan.group = round_up(8 * (s.n_classes + 1));
  plan.flags = round_up((plan.threads + 1) * s.d);
  plan.features = round_up(8 * (s.d + 1));
  plan.bits = round_up(8 * plan.columns * plan.words);
  plan.totals = round_up(4 * s.n_classes * plan.columns);
  plan.thread_bytes = round_up(4 * plan.tiles * plan.columns);
  plan_pieces(x, s, plan);
  return plan;
}

/// Scratch that count_pairs needs, in words of 64 bits.
inline index count_pairs_scratch(const codes_view& x, const structure_view& s, int threads) {
  const pair_plan p = plan_pairs(x, s, threads);
  const index shared =
      p.encoder + p.codes + p.row + 2 * p.group + p.flags + 2 * p.features + p.bits + p.totals + p.counted;
  return (shared + p.threads * p.thread_bytes) / 8;
}

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
      index* const cells = counts + places[pair_of(i, j, s.d)] + k * ci * cj;
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

/// One task: the pairs (i, j) of features of few categories with i in [first, last), j > i.
inline void count_shared(const structure_view& s, const chunk_columns& columns, index few, index first, index last,
                         const pair_places& places, index* counts, std::uint32_t* shared) {
  const index p0 = columns.first[first], p1 = columns.first[last], stride = columns.n_columns;
  const index g0 = columns.first[first + 1] / bit_lanes * bit_lanes;
  for (index k = 0; k < s.n_classes; ++k) {
    if (columns.group[k + 1] == columns.group[k]) continue;
    const index from = columns.word[k] * bit_lanes, n = columns.word[k + 1] - columns.word[k];
    for (index p = p0; p < p1; p += column_block) {
      const std::uint64_t* a[column_block];
      for (index i = 0; i < column_block; ++i) a[i] = columns.column(p + i < p1 ? p + i : p1 - 1) + from;
      for (index g = g0; g < columns.n_columns; g += bit_lanes) {
        std::uint32_t* out[column_block];
        for (index i = 0; i < column_block; ++i) out[i] = shared + (p - p0 + i) * stride + g;
        shared_bits<column_block>(a, columns.group_of(g) + from, n, out);
      }
    }
    add_tables(s, columns, few, first, last, k, shared, places, counts);
  }
}

/// One task: the pairs of feature i and those j > i where one of the two has many categories, and i's counts if it has.
template <class U>
inline void count_direct(const structure_view& s, const pair_codes<U>& codes, const index* y, index few, index i,
                         const pair_places& places, index* marginals, index* counts) {
  constexpr index most = 8;               // features counted side by side: increments seldom meet the one before
  constexpr index table_bytes = 1 << 18;  // of them together
  const index ci = s.n_categories[i], wi = codes.stride(i);
  const U* const xi = codes.feature(i);
  if (ci > few) {
    index* cells = marginals + s.offsets[i];
    for (index r = 0; r < codes.rows; ++r) {
      const auto a = static_cast<index>(xi[r * wi]);
      if (a < ci) ++cells[(y ? y[r] * ci : 0) + a];
    }
  }
  for (index j = i + 1; j < s.d;) {
    const U* x[most];
    index* cells[most];
    index c[most], w[most];
    index n = 0;
    for (index bytes = 0; j < s.d && n < most; ++j) {
      const index cj = s.n_categories[j];
      if (ci <= few && cj <= few) continue;
      bytes += 8 * s.n_classes * ci * cj;
      if (n > 0 && bytes > table_bytes) break;
      x[n] = codes.feature(j);
      w[n] = codes.stride(j);
      c[n] = cj;
      cells[n++] = counts + places[pair_of(i, j, s.d)];
    }
    const auto add = [&](auto of) {
      for (index r = 0; r < codes.rows; ++r) {
        const auto a = static_cast<index>(xi[r * wi]);
        if (a >= ci) continue;
        const index row = (y ? y[r] * ci : 0) + a;
        for (index t = 0; t < of(); ++t) {
          const auto b = static_cast<index>(x[t][r * w[t]]);
          if (b < c[t]) ++cells[t][row * c[t] + b];
        }
      }
    };
    if (n == most)
      add([] { return most; });
    else
      add([&] { return n; });
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

/// Sets the bits of all columns.
template <class U>
inline void pack_columns(const chunk_columns& columns, const pair_codes<U>& codes, index d, int threads) {
  const index tiles = (d + tile_width - 1) / tile_width;
  parallel_blocks(columns.n_words, 8, threads, [&](index w0, index w1, int) {
    index k = 0;
    for (index w = w0; w < w1; ++w) {
      while (columns.word[k + 1] <= w) ++k;
      const index begin = columns.group[k] + 64 * (w - columns.word[k]);
      const index m = columns.group[k + 1] - begin < 64 ? columns.group[k + 1] - begin : 64;
      for (index t = 0; t < tiles; ++t) pack_rows(columns, codes, t, columns.rows + begin, m, w);
    }
  });
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

/// Sets the bits of all columns of rows [row0, row1), no code of which may be missing; a piece is encoded by its thread,
/// in `codes`, and packed while it is in cache.
inline void encode_columns(const encoder& e, index row0, index row1, const chunk_columns& columns, std::uint8_t* codes,
                           int threads, first_index& bad) {
  const index rows = piece_rows(e.x.d);
  parallel_blocks(row1 - row0, rows, threads, [&](index a, index b, int thread) {
    pack_piece(e, row0 + a, row0 + b, columns, codes + thread * (rows * e.x.d + tile_width), a / 64, bad);
  });
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

/// Takes the totals of all columns, and adds the counts of the features of few categories.
inline void count_columns(const structure_view& s, const chunk_columns& columns, index few, index* marginals,
                          int threads) {
  constexpr index least_words = 1 << 14;  // worth a thread
  const index grain = std::max<index>(4, least_words / (columns.n_words + 1) / bit_lanes);
  parallel_blocks(columns.n_columns / bit_lanes, grain, threads, [&](index first, index last, int) {
    for (index g = first * bit_lanes; g < last * bit_lanes; g += bit_lanes)
      for (index k = 0; k < s.n_classes; ++k)
        set_bits(columns.group_of(g) + columns.word[k] * bit_lanes, columns.word[k + 1] - columns.word[k],
                 columns.totals + k * columns.n_columns + g);
  });
  add_marginals(s, columns, few, marginals);
}

/// Adds what the `used` columns of a piece of n words have in common to `shared`, a row a column, and their totals to the row
/// before.
inline void count_piece(const chunk_columns& columns, index used, index n, std::uint32_t* shared) {
  const index n_columns = columns.n_columns;
  const auto add = [](const std::uint32_t* some, std::uint32_t* to) {
    for (index l = 0; l < bit_lanes; ++l) to[l] += some[l];
  };
  for (index g = 0; g < n_columns; g += bit_lanes) {
    std::uint32_t some[bit_lanes];
    set_bits(columns.group_of(g), n, some);
    add(some, shared + g);
  }
  std::uint32_t* row = shared + n_columns;
  for (index p = 0; p < used; p += column_block, row += column_block * n_columns) {
    const std::uint64_t* a[column_block];
    for (index i = 0; i < column_block; ++i) a[i] = columns.column(p + i);  // padding too
    for (index g = p / bit_lanes * bit_lanes; g < n_columns; g += bit_lanes) {
      std::uint32_t some[column_block][bit_lanes];
      shared_bits<column_block>(a, columns.group_of(g), n, {some[0], some[1], some[2], some[3]});
      for (index i = 0; i < column_block; ++i) add(some[i], row + i * n_columns + g);
    }
  }
}

/// Counts pieces of rows [row0, row1), at most 2^31, of features of few categories without a class, dealt to the threads,
/// until one has a missing cell: counted[p] = 1 where piece p is. Whether any is.
inline bool count_dealt(const encoder& e, const pair_plan& plan, index row0, index row1, chunk_columns columns,
                        std::uint8_t* begun, std::uint8_t* counted, const pair_places& places, index* marginals,
                        index* counts, char* scratch, int threads, first_index& bad) {
  const structure_view& s = e.s;
  const index rows = 64 * plan.piece_words, size = columns.n_columns * (columns.n_columns + 1);
  const auto shared_of = [&](int thread) {
    return reinterpret_cast<std::uint32_t*>(scratch + thread * plan.thread_bytes);
  };
  for (int thread = 0; thread < threads; ++thread) begun[thread] = 0;
  std::atomic<bool> incomplete{false};
  std::atomic<index> total{0};
  parallel_blocks(row1 - row0, rows, threads, [&](index a, index b, int thread) {
    counted[a / rows] = 0;
    if (incomplete.load(std::memory_order_relaxed)) return;
    std::uint32_t* const shared = shared_of(thread);
    char* const own = reinterpret_cast<char*>(shared) + plan.piece_shared;
    chunk_columns piece = columns;
    piece.bits = reinterpret_cast<std::uint64_t*>(own);
    piece.n_words = (b - a + 63) / 64;
    auto* const codes = reinterpret_cast<std::uint8_t*>(own + plan.piece_bits);
    if (pack_piece(e, row0 + a, row0 + b, piece, codes, 0, bad) & met_missing) {
      incomplete.store(true, std::memory_order_relaxed);
      return;
    }
    if (!begun[thread]) std::fill_n(shared, size, 0);
    begun[thread] = 1;
    count_piece(piece, piece.first[s.d], piece.n_words, shared);
    counted[a / rows] = 1;
    total += b - a;
  });
  if (bad.get() >= 0 || total == 0) return false;

  int first = 0;
  while (!begun[first]) ++first;
  std::uint32_t* const shared = shared_of(first);
  for (int thread = first + 1; thread < threads; ++thread) {
    if (!begun[thread]) continue;
    const std::uint32_t* const others = shared_of(thread);
    for (index i = 0; i < size; ++i) shared[i] += others[i];
  }
  columns.totals = shared;
  columns.group[0] = 0;
  columns.group[1] = total;
  add_marginals(s, columns, plan.few, marginals);
  parallel_blocks(s.d, s.d * s.d < 1 << 14 ? s.d : 16, threads, [&](index i0, index i1, int) {
    add_tables(s, columns, plan.few, i0, i1, 0, shared + (columns.first[i0] + 1) * columns.n_columns, places, counts);
  });
  return true;
}

/// Adds the tables of all pairs of features of few categories; every thread has thread_bytes of `scratch`. Tasks are of
/// about 2 column_block columns each, made of whole features: the widest has as many as fit in its scratch.
inline void count_all_shared(const structure_view& s, const chunk_columns& columns, index few,
                             const pair_places& places, index* counts, char* scratch, index thread_bytes, int threads) {
  const auto feature_at = [&](index column) {
    index low = 0, high = s.d;  // the first feature whose columns begin at `column` or later
    while (low < high) {
      const index middle = (low + high) / 2;
      if (columns.first[middle] < column)
        low = middle + 1;
      else
        high = middle;
    }
    return low;
  };
  const index tasks = columns.first[s.d] / (2 * column_block) + 1;
  parallel_blocks(tasks, 1, threads, [&](index task, index, int thread) {
    const index first = feature_at(task * 2 * column_block);
    const index last = task + 1 == tasks ? s.d : feature_at((task + 1) * 2 * column_block);
    if (first < last)
      count_shared(s, columns, few, first, last, places, counts,
                   reinterpret_cast<std::uint32_t*>(scratch + thread * thread_bytes));
  });
}

/// Adds the counts of all features and of all pairs i < j to `marginals` and `counts`, or writes them where these are
/// `fresh` memory: pair p, in lexicographic order, has n_classes tables of C_i x C_j cells from pair_offsets[p] on; null
/// where all features have as many categories. `s` is of roots. A pair with a missing cell is not counted. Returns the
/// first bad cell (row * d + column), or -1: what is in the tables then is nothing.
inline index count_pairs(const codes_view& x, const index* y, const code_rules& rules, const structure_view& s,
                         const index* pair_offsets, index* marginals, index* counts, bool fresh, void* scratch,
                         int threads) {
  const pair_plan plan = plan_pairs(x, s, threads);
  threads = plan.threads;
  const index d = s.d;
  char* part = static_cast<char*>(scratch);
  const auto take = [&part](index bytes) {
    char* const begin = part;
    part += bytes;
    return begin;
  };
  const encoder e = make_encoder(x, rules, s, take(plan.encoder));
  void* const lent = take(plan.codes);
  chunk_columns columns{};
  columns.rows = reinterpret_cast<std::int32_t*>(take(plan.row));
  columns.group = reinterpret_cast<index*>(take(plan.group));
  columns.word = reinterpret_cast<index*>(take(plan.group));
  auto* flags = reinterpret_cast<std::uint8_t*>(take(plan.flags));
  columns.first = reinterpret_cast<index*>(take(plan.features));
  columns.kept = reinterpret_cast<index*>(take(plan.features));
  columns.bits = reinterpret_cast<std::uint64_t*>(take(plan.bits));
  columns.totals = reinterpret_cast<std::uint32_t*>(take(plan.totals));
  auto* const counted = reinterpret_cast<std::uint8_t*>(take(plan.counted));  // pieces
  const bool at_once = !plan.some_many && !e.slots && s.n_classes == 1;       // neither missing cells nor classes
  for (index j = 0; j < d; ++j) flags[j] = 0;

  const pair_places places = make_places(s, pair_offsets);
  if (fresh) std::fill_n(marginals, s.offsets[d], 0);
  columns.fresh = fresh;
  const auto begin_tables = [&](bool each_written) {
    if (!columns.fresh || each_written) return;
    const index cells =
        d > 1 ? places[pair_of(d - 2, d - 1, d)] + s.n_classes * s.n_categories[d - 2] * s.n_categories[d - 1] : 0;
    parallel_blocks(cells, 1 << 16, threads, [&](index a, index b, int) { std::fill(counts + a, counts + b, 0); });
    columns.fresh = false;
  };
  if (x.n == 0 || plan.some_many || s.n_classes > 1) begin_tables(false);
  first_index bad;
  const index piece = 64 * plan.piece_words;
  if (piece > 0) {
    const index most_rows = (index{1} << 30) / piece * piece;
    lay_out_columns(s, plan.few, flags, nullptr, piece, columns);
    begin_tables(columns.binary == 0);
    for (index row0 = 0; row0 < x.n; row0 += most_rows) {
      const index row1 = x.n - row0 < most_rows ? x.n : row0 + most_rows;
      if (count_dealt(e, plan, row0, row1, columns, flags + d, counted + row0 / piece, places, marginals, counts, part,
                      threads, bad))
        columns.fresh = false;
      // Others may come before it: in pieces that were left when one had a missing cell.
      if (bad.get() >= 0) return first_bad(e, 0, bad.get() / d + 1);
    }
  }
  // The rows after `row` that are not yet counted begin here, and the next ones that are.
  const auto next = [&](index row, bool done) {
    while (row < x.n && (piece > 0 && counted[row / piece] == 1) != done) row = (row / piece + 1) * piece;
    return row < x.n ? row : x.n;
  };
  visit_unsigned(e.tile, [&](auto u) {
    using U = decltype(u);
    for (index row1 = 0, row0 = next(0, false); row0 < x.n; row0 = next(row1, false)) {
      row1 = piece > 0 ? next(row0, true) : x.n;
      if (row1 - row0 > plan.rows) row1 = row0 + plan.rows;
      const index* classes = y ? y + row0 : nullptr;
      if (at_once) {
        lay_out_columns(s, plan.few, flags, nullptr, row1 - row0, columns);
        encode_columns(e, row0, row1, columns, static_cast<std::uint8_t*>(lent), threads, bad);
        if (bad.get() >= 0) return;
      } else {
        const auto codes = encode_pairs(e, row0, row1, static_cast<U*>(lent), flags, flags + d, threads, bad);
        if (bad.get() >= 0) return;
        if (plan.some_many)
          parallel_blocks(d, 1, threads, [&](index i, index, int) {
            count_direct(s, codes, classes, plan.few, i, places, marginals, counts);
          });
        if (plan.columns == 0) continue;
        lay_out_columns(s, plan.few, flags, classes, row1 - row0, columns);
        pack_columns(columns, codes, d, threads);
      }
      begin_tables(columns.binary == 0);
      count_columns(s, columns, plan.few, marginals, threads);
      count_all_shared(s, columns, plan.few, places, counts, part, plan.thread_bytes, threads);
      columns.fresh = false;
    }
  });
  return bad.get();
}

}  // namespace tallydraw::TALLYDRAW_ISA
