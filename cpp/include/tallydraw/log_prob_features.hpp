// log p(x) or log p(x | y) of rows: gather the log of every cell and add, from first[k], left to right over the
// features of a row, in float64. Logs lie with classes innermost (tallydraw.tables.Logs): feature j has, from
// log_offsets[j] on, K logs for each combined code and K zeros for the slot, so a missing cell adds nothing.
// Blocks of rows x tiles of features: the tables of a tile stay in the second-level cache while many rows use them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "tallydraw/codes.hpp"
#include "tallydraw/log_prob_lookup.hpp"
#include "tallydraw/parallel.hpp"
#include "tallydraw/views.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// One buffer of codes: at most 4 MiB, but at least 16 rows; less where there are few rows.
constexpr index log_prob_code_bytes(index n, index d) {
  const index limit = 128 * d > 4 << 20 ? 128 * d : 4 << 20;
  return n + 16 < limit / (8 * d + 1) ? (n + 16) * d * 8 : limit;
}

/// Scratch of log_prob_features in words of 64 bits.
inline index log_prob_features_scratch(const structure_view& s, index n, int threads) {
  return (encoder_bytes(s.d) + 2 * threads * log_prob_code_bytes(n, s.d)) / 8 + lookup_words(s);
}

/// out[r][k] += log of cell (r, j), k < W, for j0 <= j < j1 from left to right. `stride` classes lie side by side in
/// logs and out; Stride is the same number where it is known, else 0. Groups of rows hide the latency of sums.
template <int W, int Stride, class U>
inline void add_logs(const U* codes, index d, index rows, index j0, index j1, const double* logs, const index* offsets,
                     index stride, double* out) {
  constexpr int group = W == 1 ? 8 : W <= 4 ? 4 : 1;
  const index step = Stride ? Stride : stride;
  const auto add_group = [&](index r, auto size) {
    constexpr int G = decltype(size)::value;
    double sum[G][W];
    for (int g = 0; g < G; ++g)
      for (int k = 0; k < W; ++k) sum[g][k] = out[(r + g) * step + k];
    const U* z = codes + r * d;
    for (index j = j0; j < j1; ++j) {
      const double* table = logs + offsets[j];
      for (int g = 0; g < G; ++g) {
        const double* row = table + static_cast<index>(z[g * d + j]) * step;
        for (int k = 0; k < W; ++k) sum[g][k] += row[k];
      }
    }
    for (int g = 0; g < G; ++g)
      for (int k = 0; k < W; ++k) out[(r + g) * step + k] = sum[g][k];
  };
  index r = 0;
  for (; r + group <= rows; r += group) add_group(r, std::integral_constant<int, group>{});
  for (; r < rows; ++r) add_group(r, std::integral_constant<int, 1>{});
}

/// All k classes: at once where they are at most 16, else 16, 4 or 1 at a time.
template <int W = 16, class U>
inline void add_all_logs(const U* codes, index d, index rows, index j0, index j1, const double* logs,
                         const index* offsets, index k, double* out) {
  if (k == W) {
    add_logs<W, W>(codes, d, rows, j0, j1, logs, offsets, k, out);
  } else if constexpr (W > 1) {
    if (k < W) add_all_logs<W - 1>(codes, d, rows, j0, j1, logs, offsets, k, out);
  }
  if constexpr (W == 16) {
    if (k <= W) return;
    index done = 0;
    for (; done + 16 <= k; done += 16) add_logs<16, 0>(codes, d, rows, j0, j1, logs + done, offsets, k, out + done);
    for (; done + 4 <= k; done += 4) add_logs<4, 0>(codes, d, rows, j0, j1, logs + done, offsets, k, out + done);
    for (; done < k; ++done) add_logs<1, 0>(codes, d, rows, j0, j1, logs + done, offsets, k, out + done);
  }
}

/// Tiles are ended by the features whose tables exceed this together.
constexpr index log_prob_table_bytes = 1 << 17;

/// out (n, K); incomplete[r] = 1 where a cell of row r is missing, else 0. Returns the first bad cell, row * d +
/// column, or -1. scratch: log_prob_features_scratch words.
inline index log_prob_features(const codes_view& x, const code_rules& rules, const structure_view& s,
                               const double* logs, const index* log_offsets, const double* first,
                               std::uint8_t* incomplete, double* out, void* scratch, int threads) {
  const index d = s.d;
  const index k = s.n_classes;
  const encoder e = make_encoder(x, rules, s, scratch);
  const index code_bytes = log_prob_code_bytes(x.n, d);
  char* buffers = static_cast<char*>(scratch) + encoder_bytes(d);
  double* const tables = reinterpret_cast<double*>(buffers + 2 * threads * code_bytes);
  const bool by_lookup = lookups_fit(s) && x.n >= lookup_rows;
  if (by_lookup) fill_lookups(s, logs, log_offsets, tables);
  const bool with_slots = by_lookup && slots_fit(s);
  first_index bad;
  visit_unsigned(e.tile, [&](auto u) {
    using U = decltype(u);
    // Many rows a block where tables take turns in the cache; else as many as keep their codes in the first level.
    const bool one_tile = log_offsets[d] * 8 <= log_prob_table_bytes;
    const index room = one_tile ? index{1} << 15 : code_bytes;
    const index each = (x.n + threads - 1) / threads;
    index rows = room / (d * static_cast<index>(sizeof(U))) / 8 * 8;
    rows = std::max<index>(16, std::min<index>(rows, 8192));
    rows = std::max<index>(1, std::min(rows, (each + 7) / 8 * 8));
    if (by_lookup) rows = std::max(lookup_rows, rows / lookup_rows * lookup_rows);  // 64 d codes always fit
    parallel_blocks(x.n, rows, threads, [&](index row0, index row1, int thread) {
      U* codes = reinterpret_cast<U*>(buffers + 2 * thread * code_bytes);
      U* plain = reinterpret_cast<U*>(buffers + (2 * thread + 1) * code_bytes);
      const index m = row1 - row0;
      const unsigned met = encode(e, row0, row1, 0, d, codes, plain);
      if (met & met_bad) bad.report(first_bad(e, row0, row1));
      std::memset(incomplete + row0, 0, static_cast<std::size_t>(m));
      if (met & met_missing) mark_incomplete(e, e.contexts ? plain : codes, m, incomplete + row0);

      double* sums = out + row0 * k;
      index done = 0;  // rows scored by lookup
      if constexpr (sizeof(U) == 1) {
        if (by_lookup && (with_slots || !(met & met_missing)))
          for (; done + lookup_rows <= m; done += lookup_rows)
            look_up_rows(codes + done * d, plain, d, tables, k, first, sums + done * k);
      }
      for (index r = done; r < m; ++r)
        for (index c = 0; c < k; ++c) sums[r * k + c] = first[c];
      for (index j0 = 0, j1 = 0; j0 < d; j0 = j1) {
        for (j1 = j0 + 1; j1 < d && (log_offsets[j1 + 1] - log_offsets[j0]) * 8 <= log_prob_table_bytes;) ++j1;
        add_all_logs(codes + done * d, d, m - done, j0, j1, logs, log_offsets, k, sums + done * k);
      }
    });
  });
  return bad.get();
}

}  // namespace tallydraw::TALLYDRAW_ISA
