// log p(x) or log p(x | y) of rows: gather the log of every cell and add, from first[k], left to right over the
// features of a row, in float64. Logs lie as class lanes (class_lanes.hpp) with zeros for the slot, so a missing cell
// adds nothing. Blocks of rows x tiles of features: the tables of a tile stay in the second-level cache while many rows
// use them, and those of the next tile are brought there meanwhile.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "tallydraw/attributes.hpp"
#include "tallydraw/class_lanes.hpp"
#include "tallydraw/codes.hpp"
#include "tallydraw/log_prob_columns.hpp"
#include "tallydraw/log_prob_lookup.hpp"
#include "tallydraw/parallel.hpp"
#include "tallydraw/prefetch.hpp"
#include "tallydraw/views.hpp"
#include "tallydraw/wide.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// How a call is cut up.
struct score_plan {
  index width;         // features encoded at once; all where some feature has a context, or tables are looked up
  index buffers;       // of codes, of a thread
  index code_bytes;    // of each: enough for 16 rows of the widest codes, or for as many as are looked up together
  index parts;         // where lanes begin, of a thread
  index table_words;   // looked up in
  index thread_words;  // buffers and parts
};

inline score_plan plan_scores(const structure_view& s, index n) {
  const bool contexts = s.context_begin[s.d] > 0;
  const bool lookups = lookups_fit(s) && n >= lookup_rows;
  const bool whole = contexts || lookups;
  score_plan plan{};
  plan.width = whole || s.d < 64 ? s.d : 64;
  plan.buffers = whole ? 2 : 1;
  const index row = 8 * plan.width;
  const index limit = contexts ? index{4} << 20 : index{256} << 10;
  plan.code_bytes = std::max((lookups ? lookup_rows : 16) * row, std::min(limit, (n + 16) * row));
  plan.parts = most_parts * s.d;
  plan.table_words = lookups ? lookup_words(s) : 0;
  plan.thread_words = plan.buffers * plan.code_bytes / 8 + plan.parts;
  return plan;
}

/// Scratch of log_prob_features in words of 64 bits.
inline index log_prob_features_scratch(const structure_view& s, index n, int threads) {
  const score_plan plan = plan_scores(s, n);
  return encoder_bytes(s.d) / 8 + plan.table_words + threads * plan.thread_words;
}

/// out[r][c] = sums[r][c] + the logs of cells (r, j), for j < width from left to right and the n classes that `parts`
/// have: where the lanes of each feature begin, part by part. Codes lie `stride` apart from row to row, outputs k, sums k
/// or 0. On its own: there are registers for little else.
template <int Full, int Rest, class U>
TALLYDRAW_APART inline void add_logs(const U* codes, index stride, index rows, index width, const double* const* parts,
                                     index n, const double* sums, index sums_stride, double* out, index k, ahead next) {
  constexpr int group = rows_together_of(8 * Full + Rest);
  constexpr int n_parts = Full + (Rest > 0);
  const auto add_group = [&](index r, auto size) {
    constexpr int G = decltype(size)::value;
    next.some();
    lane_sums<Full, Rest> sum[G];
    for (int g = 0; g < G; ++g) sum[g].load(sums + (r + g) * sums_stride, n);
    const U* z = codes + r * stride;
    for (index j = 0; j < width; ++j)
      for (int g = 0; g < G; ++g) sum[g].add(parts + j * n_parts, static_cast<index>(z[g * stride + j]));
    for (int g = 0; g < G; ++g) sum[g].store(out + (r + g) * k, n);
  };
  index r = 0;
  for (; r + group <= rows; r += group) add_group(r, std::integral_constant<int, group>{});
  for (; r < rows; ++r) add_group(r, std::integral_constant<int, 1>{});
}

/// Tiles are ended by the features whose tables exceed this together.
constexpr index score_table_bytes = 1 << 17;

/// out (n, K); incomplete[r] = 1 where a cell of row r is missing, else 0. Returns the first bad cell, row * d +
/// column, or -1. scratch: log_prob_features_scratch words.
inline index log_prob_features(const codes_view& x, const code_rules& rules, const structure_view& s,
                               const double* lanes, const index* lane_offsets, const double* first,
                               std::uint8_t* incomplete, double* out, void* scratch, int threads) {
  const index d = s.d;
  const index k = s.n_classes;
  const encoder e = make_encoder(x, rules, s, scratch);
  const score_plan plan = plan_scores(s, x.n);
  double* const tables = reinterpret_cast<double*>(static_cast<char*>(scratch) + encoder_bytes(d));
  double* const lent = tables + plan.table_words;
  const bool by_lookup = plan.table_words > 0;
  if (by_lookup) fill_lookups(s, lanes, lane_offsets, tables);
  const bool with_slots = by_lookup && slots_fit(s);
  const auto tile_end = [&](index j0, index most) {
    index j1 = j0 + 1;
    while (j1 < most && (lane_offsets[j1 + 1] - lane_offsets[j0]) * 8 <= score_table_bytes) ++j1;
    return j1;
  };
  first_index bad;
  visit_unsigned(e.tile, [&](auto u) {
    using U = decltype(u);
    // Tables that all fit need no more rows than keep their codes in the first level.
    const bool one_tile = lane_offsets[d] * 8 <= score_table_bytes;
    const index room = one_tile ? std::min<index>(plan.code_bytes, 1 << 15) : plan.code_bytes;
    index rows = room / (plan.width * static_cast<index>(sizeof(U)));
    rows = std::max<index>(16, std::min<index>(rows, 8192) / 8 * 8);
    const index pieces = ((x.n + rows - 1) / rows + threads - 1) / threads * threads;  // as many for every thread
    rows = std::max<index>(8, ((x.n + pieces - 1) / std::max<index>(1, pieces) + 7) / 8 * 8);
    if (by_lookup) rows = std::max(lookup_rows, rows / lookup_rows * lookup_rows);
    const bool columns = by_columns<U>(e);
    const bool rows_compact = x.column_stride > 0 && x.row_stride <= 2 * d * x.column_stride;
    if (columns) rows = column_rows(s, x.n, threads);
    parallel_blocks(x.n, rows, threads, [&](index row0, index row1, int thread) {
      double* const own = lent + thread * plan.thread_words;
      const double** const parts = reinterpret_cast<const double**>(own);
      U* const codes = reinterpret_cast<U*>(own + plan.parts);
      U* const plain = plan.buffers > 1 ? reinterpret_cast<U*>(own + plan.parts + plan.code_bytes / 8) : codes;
      const index m = row1 - row0;
      std::memset(incomplete + row0, 0, static_cast<std::size_t>(m));
      double* const sums = out + row0 * k;
      if constexpr (sizeof(U) <= 2) {
        if (columns) {
          const unsigned met =
              score_columns(e, row0, row1, lanes, lane_offsets, first, incomplete + row0, codes, plain, sums);
          if (met & met_bad) bad.report(first_bad(e, row0, row1));
          return;
        }
      }
      for (index f0 = 0; f0 < d; f0 += plan.width) {
        const index f1 = std::min(d, f0 + plan.width);
        const unsigned met = encode(e, row0, row1, f0, f1, codes, plain);
        if (met & met_bad) bad.report(first_bad(e, row0, row1));
        if (met & met_missing) mark_incomplete(e, e.contexts ? plain : codes, m, f0, f1, incomplete + row0);
        index done = 0;  // rows scored by lookup
        if constexpr (sizeof(U) == 1) {
          if (by_lookup && (with_slots || !(met & met_missing)))
            for (; done + lookup_rows <= m; done += lookup_rows)
              look_up_rows(codes + done * d, plain, d, tables, k, first, sums + done * k);
        }
        for (index j0 = f0, j1 = f0; j0 < f1; j0 = j1) {
          j1 = tile_end(j0, f1);
          const index next = j1 < d ? j1 : 0;
          const void* near = lanes + lane_offsets[next];
          const void* far = lanes + lane_offsets[tile_end(next, d)];
          if (one_tile) {  // its tables stay: what comes next are the codes of rows, probably these
            const index row2 = std::min(x.n, row0 + threads * rows), row3 = std::min(x.n, row2 + rows);
            const char* const data = static_cast<const char*>(x.data);
            near = data + (rows_compact ? row2 : row3) * x.row_stride;
            far = data + row3 * x.row_stride;
          }
          for_lanes(k, [&](index c, index n, auto full, auto rest) {
            constexpr int F = decltype(full)::value, R = decltype(rest)::value;
            const ahead soon(near, c == 0 ? far : near, m / rows_together_of(8 * F + R) + 1);
            find_parts(s, lanes, lane_offsets, j0, j1, c, F + (R > 0), parts);
            double* const to = sums + done * k + c;
            add_logs<F, R>(codes + done * (f1 - f0) + (j0 - f0), f1 - f0, m - done, j1 - j0, parts, n,
                           j0 > 0 ? to : first + c, j0 > 0 ? k : 0, to, k, soon);
          });
        }
      }
    });
  });
  return bad.get();
}

}  // namespace tallydraw::TALLYDRAW_ISA
