// Log joint probabilities x[n, K] to log evidence, posteriors and their logs. In every row: the maximum is taken, then
// s = exp(x - max) summed left to right; log evidence = max + log s, posterior = exp(x - max) / s, and its log is
// (x - max) - log s.
// A row whose entries are all -inf is impossible under every class: evidence -inf, and the prior as its posterior.
// Threads split rows. Rows are taken in tiles that stay in the first cache, so that exps run over flat stretches.
#pragma once

#include "tallydraw/elementary.hpp"
#include "tallydraw/parallel.hpp"
#include "tallydraw/views.hpp"

namespace tallydraw::TALLYDRAW_ISA {

namespace posterior_tiles {

constexpr index cells = 1024;   // of a tile: 8 KiB
constexpr index grain = 65536;  // cells a thread takes at once

/// Rows in a tile, and in a piece of a thread's work.
inline index rows_in(index size, index k) noexcept { return k < size ? size / k : 1; }

/// The maximum of a row, but 0 where all entries are -inf: then x - max stays -inf.
inline double shift(const double* x, index k) noexcept {
  double most = x[0];
  for (index j = 1; j < k; ++j) most = x[j] > most ? x[j] : most;
  return most > -double_of(elementary::infinity_bits) ? most : 0.0;
}

/// shifts[i] = shift of row i, sums[i] = its sum of exps, left to right; i < rows <= cells. Rows of any width pass
/// through `tile` (cells doubles) in pieces.
inline void shifts_and_sums(const double* x, index rows, index k, double* tile, double* shifts, double* sums) noexcept {
  for (index i = 0; i < rows; ++i) {
    shifts[i] = shift(x + i * k, k);
    sums[i] = 0.0;
  }
  if (k <= cells) {
    for (index i = 0; i < rows; ++i)
      for (index j = 0; j < k; ++j) tile[i * k + j] = x[i * k + j] - shifts[i];
    exp(tile, rows * k, tile);
    for (index i = 0; i < rows; ++i)
      for (index j = 0; j < k; ++j) sums[i] += tile[i * k + j];
    return;
  }
  for (index begin = 0; begin < k; begin += cells) {  // one row
    const index n = k - begin < cells ? k - begin : cells;
    for (index j = 0; j < n; ++j) tile[j] = x[begin + j] - shifts[0];
    exp(tile, n, tile);
    for (index j = 0; j < n; ++j) sums[0] += tile[j];
  }
}

}  // namespace posterior_tiles

/// out[i] = log sum_j exp(x[i, j]); -inf where all are. k >= 1.
inline void log_sum_exp(const double* x, index n, index k, double* out, int threads) {
  namespace t = posterior_tiles;
  parallel_blocks(n, t::rows_in(t::grain, k), threads, [=](index begin, index end, int) {
    double tile[t::cells];
    double shifts[t::cells];
    const index step = t::rows_in(t::cells, k);
    for (index a = begin; a < end; a += step) {
      const index rows = end - a < step ? end - a : step;
      t::shifts_and_sums(x + a * k, rows, k, tile, shifts, out + a);
      log(out + a, rows, out + a);
      for (index i = 0; i < rows; ++i) out[a + i] = shifts[i] + out[a + i];
    }
  });
}

/// out[i, j] = exp(x[i, j]) / sum_j exp(x[i, j]); prior[j] where all are -inf. evidence[i] = log sum_j exp(x[i, j]),
/// where it is not null.
inline void posterior(const double* x, index n, index k, const double* prior, double* evidence, double* out,
                      int threads) {
  namespace t = posterior_tiles;
  parallel_blocks(n, t::rows_in(t::grain, k), threads, [=](index begin, index end, int) {
    double shifts[t::cells];
    double sums[t::cells];
    const index step = t::rows_in(t::cells, k);
    for (index a = begin; a < end; a += step) {
      const index rows = end - a < step ? end - a : step;
      const double* from = x + a * k;
      double* to = out + a * k;
      for (index i = 0; i < rows; ++i) {
        shifts[i] = t::shift(from + i * k, k);
        for (index j = 0; j < k; ++j) to[i * k + j] = from[i * k + j] - shifts[i];
      }
      exp(to, rows * k, to);
      for (index i = 0; i < rows; ++i) {
        double* row = to + i * k;
        double sum = 0.0;
        for (index j = 0; j < k; ++j) sum += row[j];
        sums[i] = sum;
        if (sum > 0.0)
          for (index j = 0; j < k; ++j) row[j] = row[j] / sum;
        else
          for (index j = 0; j < k; ++j) row[j] = prior[j];
      }
      if (!evidence) continue;
      log(sums, rows, sums);
      for (index i = 0; i < rows; ++i) evidence[a + i] = shifts[i] + sums[i];
    }
  });
}

/// out[i, j] = x[i, j] - log sum_j exp(x[i, j]), computed as (x - max) - log s; log_prior[j] where all are -inf.
inline void log_posterior(const double* x, index n, index k, const double* log_prior, double* out, int threads) {
  namespace t = posterior_tiles;
  parallel_blocks(n, t::rows_in(t::grain, k), threads, [=](index begin, index end, int) {
    double tile[t::cells];
    double shifts[t::cells];
    double sums[t::cells];
    const index step = t::rows_in(t::cells, k);
    for (index a = begin; a < end; a += step) {
      const index rows = end - a < step ? end - a : step;
      const double* from = x + a * k;
      t::shifts_and_sums(from, rows, k, tile, shifts, sums);
      log(sums, rows, sums);
      for (index i = 0; i < rows; ++i) {
        double* row = out + (a + i) * k;
        if (sums[i] >= 0.0)
          for (index j = 0; j < k; ++j) row[j] = (from[i * k + j] - shifts[i]) - sums[i];
        else
          for (index j = 0; j < k; ++j) row[j] = log_prior[j];
      }
    }
  });
}

}  // namespace tallydraw::TALLYDRAW_ISA
