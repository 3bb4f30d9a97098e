// Contingency tables of all pairs of features. Features of few categories are columns of bits (bit_columns.hpp), and a
// cell is the number of bits two columns share; where no cell of a feature is missing its last category needs no
// column, since the cells of the other ones and the marginal counts leave the rest to it. A pair with a feature of more
// categories is counted cell by cell. Both give the same integers. A table is one thread's.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

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
  index rows;     // of a chunk
  index few;      // up to so many categories are columns of bits
  index columns;  // at most, a multiple of bit_lanes
  index words;    // of a column, at most: the rows of every class begin a word
  index tiles;    // columns of the features of a task, at most
  // Bytes of the parts of the scratch.
  index encoder, codes, row, group, flags, features, bits, totals;
  index thread_bytes;
};

/// Rows that are encoded and packed at once: their codes stay in the nearest cache.
inline index piece_rows(index d) { return std::clamp((index{1} << 15) / (d + 1) / 64 * 64, index{64}, index{512}); }

inline pair_plan plan_pairs(const codes_view& x, const structure_view& s, int threads) {
  constexpr index bit_bytes = 1 << 20;  // of all columns: they stay in cache
  constexpr index least_rows = 1 << 12, most_rows = 1 << 16;
  pair_plan plan{};
  plan.few = x.n / s.n_classes >= 32 ? few_bits : 0;  // a word and a scattered table are worth so many increments
  index columns = 0, widest = 2 * column_block;
  for (index j = 0; j < s.d; ++j)
    if (s.n_categories[j] <= plan.few) columns += s.n_categories[j];
  plan.columns = (columns + bit_lanes - 1) / bit_lanes * bit_lanes;
  plan.tiles = widest + few_bits + column_block;
  plan.rows = 8 * bit_bytes / (plan.columns + 64);
  plan.rows = std::clamp(plan.rows / 64 * 64, least_rows, most_rows);
  plan.rows = std::clamp(x.n, index{1}, plan.rows);
  plan.words = plan.rows / 64 + s.n_classes + 1;
  plan.encoder = round_up(encoder_bytes(s.d));
  plan.codes = round_up(pair_code_bytes(plan.rows, s.d) + threads * (piece_rows(s.d) * s.d + tile_width));
  plan.row = round_up(4 * plan.rows);
  plan.group = round_up(8 * (s.n_classes + 1));
  plan.flags = round_up((threads + 1) * s.d);
  plan.features = round_up(8 * (s.d + 1));
  plan.bits = round_up(8 * plan.columns * plan.words);
  plan.totals = round_up(4 * s.n_classes * plan.columns);
  plan.thread_bytes = round_up(4 * plan.tiles * plan.columns);
  return plan;
}

/// Scratch that count_pairs needs, in words of 64 bits.
inline index count_pairs_scratch(const codes_view& x, const structure_view& s, int threads) {
  const pair_plan p = plan_pairs(x, s, threads);
  const index shared = p.encoder + p.codes + p.row + 2 * p.group + p.flags + 2 * p.features + p.bits + p.totals;
  return (shared + threads * p.thread_bytes) / 8;
}

/// Columns of a chunk: feature j has kept[j] of them, from first[j] on.
struct chunk_columns {
  index* first;  // [d + 1]
  index* kept;   // [d]
  std::uint64_t* bits;
  std::uint32_t* totals;  // [K, n_columns] bits set in the rows of a class
  index n_columns;        // a multiple of bit_lanes
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
/// shared[l] and totals[l] are of the others, `total` is the feature's; tables begin `apart` cells from each other.
inline void add_binary_tables(const std::uint32_t* shared, const std::uint32_t* totals, index total, index rows,
                              index n, index apart, index* counts) {
  for (index l = 0; l < n; ++l, counts += apart) {
    const index both = shared[l], other = totals[l];
    counts[0] += both;
    counts[1] += total - both;
    counts[2] += other - both;
    counts[3] += rows - total - other + both;
  }
}

/// One task: the pairs (i, j) of features of few categories with i in [first, last), j > i.
inline void count_shared(const structure_view& s, const chunk_columns& columns, index few, index first, index last,
                         const index* pair_offsets, index* counts, std::uint32_t* shared) {
  const index p0 = columns.first[first], p1 = columns.first[last], stride = columns.n_columns;
  const index g0 = columns.first[first + 1] / bit_lanes * bit_lanes;
  const auto is_binary = [&](index j) { return s.n_categories[j] == 2 && columns.kept[j] == 1; };
  index binary = s.d;  // this feature and those after it are
  while (binary > first && is_binary(binary - 1)) --binary;
  for (index k = 0; k < s.n_classes; ++k) {
    const index rows = columns.group[k + 1] - columns.group[k];
    if (rows == 0) continue;
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
    const std::uint32_t* totals = columns.totals + k * columns.n_columns;
    for (index i = first; i < last; ++i) {
      const index ci = s.n_categories[i];
      if (ci > few) continue;
      const std::uint32_t* row = shared + (columns.first[i] - p0) * stride;
      for (index j = i + 1; j < s.d; ++j) {
        const index cj = s.n_categories[j];
        if (cj > few) continue;
        const index q = columns.first[j];
        if (is_binary(i) && j >= binary) {
          add_binary_tables(row + q, totals + q, totals[columns.first[i]], rows, s.d - j, 4 * s.n_classes,
                            counts + pair_offsets[pair_of(i, j, s.d)] + k * 4);
          break;
        }
        add_table(ci, cj, columns.kept[i], columns.kept[j], row + q, stride, totals + columns.first[i], totals + q,
                  rows, counts + pair_offsets[pair_of(i, j, s.d)] + k * ci * cj);
      }
    }
  }
}

/// One task: the pairs of feature i and those j > i where one of the two has many categories, and i's counts if it has.
template <class U>
inline void count_direct(const structure_view& s, const pair_codes<U>& codes, const index* y, index few, index i,
                         const index* pair_offsets, index* marginals, index* counts) {
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
      cells[n++] = counts + pair_offsets[pair_of(i, j, s.d)];
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

/// The same from codes none of which may be missing, so that few categories are bytes, of rows in their own order: a
/// piece is encoded by its thread, in `codes`, and packed while it is in cache.
inline void encode_columns(const encoder& e, index row0, index row1, const chunk_columns& columns, std::uint8_t* codes,
                           int threads, first_index& bad) {
  const index d = e.x.d, tiles = (d + tile_width - 1) / tile_width, rows = piece_rows(d);
  parallel_blocks(row1 - row0, rows, threads, [&](index a, index b, int thread) {
    std::uint8_t* const mine = codes + thread * (rows * d + tile_width);
    const pair_codes<std::uint8_t> piece{mine, d, b - a, d};
    const unsigned met = encode(e, row0 + a, row0 + b, 0, d, mine, static_cast<std::uint8_t*>(nullptr));
    if (met & met_bad) bad.report(first_bad(e, row0 + a, row0 + b));
    for (index r = 0; r < b - a; r += 64)
      for (index t = 0; t < tiles; ++t)
        pack_rows(columns, piece, t, columns.rows + r, b - a - r < 64 ? b - a - r : 64, (a + r) / 64);
  });
}

/// Takes the totals of all columns, and adds the counts of the features of few categories.
inline void count_columns(const structure_view& s, const chunk_columns& columns, index few, index* marginals,
                          int threads) {
  parallel_blocks(columns.n_columns / bit_lanes, 4, threads, [&](index first, index last, int) {
    for (index g = first * bit_lanes; g < last * bit_lanes; g += bit_lanes)
      for (index k = 0; k < s.n_classes; ++k)
        set_bits(columns.group_of(g) + columns.word[k] * bit_lanes, columns.word[k + 1] - columns.word[k],
                 columns.totals + k * columns.n_columns + g);
  });
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

/// Adds the tables of all pairs of features of few categories; every thread has thread_bytes of `scratch`. Tasks are of
/// about 2 column_block columns each, made of whole features: the widest has as many as fit in its scratch.
inline void count_all_shared(const structure_view& s, const chunk_columns& columns, index few,
                             const index* pair_offsets, index* counts, char* scratch, index thread_bytes, int threads) {
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
      count_shared(s, columns, few, first, last, pair_offsets, counts,
                   reinterpret_cast<std::uint32_t*>(scratch + thread * thread_bytes));
  });
}

/// Adds the counts of all features and of all pairs i < j to `marginals` and `counts`: pair p, in lexicographic order,
/// has n_classes tables of C_i x C_j cells from pair_offsets[p] on. `s` is of roots. A pair with a missing cell is not
/// counted. Returns the first bad cell (row * d + column), or -1.
inline index count_pairs(const codes_view& x, const index* y, const code_rules& rules, const structure_view& s,
                         const index* pair_offsets, index* marginals, index* counts, void* scratch, int threads) {
  const pair_plan plan = plan_pairs(x, s, threads);
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
  bool some_many = false;
  for (index j = 0; j < d; ++j) some_many = some_many || s.n_categories[j] > plan.few;
  const bool at_once = !some_many && !e.slots && s.n_classes == 1;  // neither missing cells nor classes
  for (index j = 0; j < d; ++j) flags[j] = 0;

  first_index bad;
  visit_unsigned(e.tile, [&](auto u) {
    using U = decltype(u);
    for (index row0 = 0; row0 < x.n; row0 += plan.rows) {
      const index row1 = row0 + plan.rows < x.n ? row0 + plan.rows : x.n;
      const index* classes = y ? y + row0 : nullptr;
      if (at_once) {
        lay_out_columns(s, plan.few, flags, nullptr, row1 - row0, columns);
        encode_columns(e, row0, row1, columns, static_cast<std::uint8_t*>(lent), threads, bad);
        if (bad.get() >= 0) return;
      } else {
        const auto codes = encode_pairs(e, row0, row1, static_cast<U*>(lent), flags, flags + d, threads, bad);
        if (bad.get() >= 0) return;
        if (some_many)
          parallel_blocks(d, 1, threads, [&](index i, index, int) {
            count_direct(s, codes, classes, plan.few, i, pair_offsets, marginals, counts);
          });
        if (plan.columns == 0) continue;
        lay_out_columns(s, plan.few, flags, classes, row1 - row0, columns);
        pack_columns(columns, codes, d, threads);
      }
      count_columns(s, columns, plan.few, marginals, threads);
      count_all_shared(s, columns, plan.few, pair_offsets, counts, part, plan.thread_bytes, threads);
    }
  });
  return bad.get();
}

}  // namespace tallydraw::TALLYDRAW_ISA
