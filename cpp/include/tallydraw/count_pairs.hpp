// Contingency tables of all pairs of features. Features of few categories are columns of bits (bit_columns.hpp), and a
// cell is the number of bits two columns share (count_pairs_columns.hpp). A pair with a feature of more categories is
// counted cell by cell. All give the same integers. Threads own tables, or rows (count_pairs_dealt.hpp).
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "tallydraw/bit_columns.hpp"
#include "tallydraw/count_features.hpp"
#include "tallydraw/count_pairs_columns.hpp"
#include "tallydraw/count_pairs_dealt.hpp"
#include "tallydraw/pair_codes.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// Rows that are encoded and packed at once: their codes stay in the nearest cache.
inline index piece_rows(index d) { return std::clamp((index{1} << 15) / (d + 1) / 64 * 64, index{64}, index{512}); }

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
      cells[n++] = counts + places.of(i, j);
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
      add(std::integral_constant<index, most>{});
    else
      add([&] { return n; });
  }
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

/// Sets the bits of all columns of rows [row0, row1), no code of which may be missing; a piece is encoded by its thread,
/// in `codes`, and packed while it is in cache.
inline void encode_columns(const encoder& e, index row0, index row1, const chunk_columns& columns, std::uint8_t* codes,
                           int threads, first_index& bad) {
  const index rows = piece_rows(e.x.d);
  parallel_blocks(row1 - row0, rows, threads, [&](index a, index b, int thread) {
    pack_piece(e, row0 + a, row0 + b, columns, codes + thread * (rows * e.x.d + tile_width), a / 64, bad);
  });
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
/// `fresh` memory: pair i < j has n_classes tables of C_i x C_j cells from pair_begins[i] + C_i * s.offsets[j] on;
/// null where all features have as many categories: then pairs lie in lexicographic order. `s` is of roots. A pair with a
/// missing cell is not counted. Returns the first bad cell (row * d + column), or -1: what is in the tables then is
/// nothing.
inline index count_pairs(const codes_view& x, const index* y, const code_rules& rules, const structure_view& s,
                         const index* pair_begins, index* marginals, index* counts, bool fresh, void* scratch,
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

  const pair_places places = make_places(s, pair_begins);
  if (fresh) std::fill_n(marginals, s.offsets[d], 0);
  columns.fresh = fresh;
  const auto begin_tables = [&](bool each_written) {
    if (!columns.fresh || each_written) return;
    const index cells =
        d > 1 ? places.of(d - 2, d - 1) + s.n_classes * s.n_categories[d - 2] * s.n_categories[d - 1] : 0;
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
