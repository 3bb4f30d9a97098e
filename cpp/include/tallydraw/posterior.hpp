// Log joint probabilities x[n, K] to log evidence, posteriors and their logs. In every row: the maximum is taken, then
// s = exp(x - max) summed left to right; log evidence = max + log s, posterior = exp(x - max) / s, and its log is
// (x - max) - log s.
// A row whose entries are all -inf is impossible under every class: evidence -inf, and the prior as its posterior.
// Threads split rows. Rows are taken in tiles that stay in the first cache, so that exps run over flat stretches.
#pragma once

#include "tallydraw/doubles.hpp"
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

namespace posterior_tiles {

#if defined(TALLYDRAW_MASKED_DOUBLES)

/// Whether exps are packed: of many classes some are so far below the best that exp_below says the same of all of them.
/// Rows are whole vectors then, which few classes do not fill well enough.
inline bool are_packed(index k) noexcept { return k > 8 && 3 * whole_lines(k) <= 4 * k && whole_lines(k) <= cells; }

/// As exps_below, of rows stride_of(k) apart.
inline void packed_exps(double* x, index rows, index k, double* most) noexcept {
  const index stride = whole_lines(k);
  const auto classes = [k](index j) { return static_cast<__mmask8>(k - j < 8 ? (1 << (k - j)) - 1 : 255); };
  const __m512d lowest = _mm512_set1_pd(-double_of(elementary::infinity_bits));
  const __m512d least = _mm512_set1_pd(least_below), least_exp = _mm512_set1_pd(exp_below(least_below));
  constexpr __mmask8 all = 255;  // the functions without a mask make compilers warn
  double some[cells + 8];
  std::uint8_t which[cells / 8];
  std::uint8_t* to = which;
  index n = 0;
  for (index i = 0; i < rows; ++i) {
    const double* const row = x + i * stride;
    const auto load = [&](index j) { return _mm512_mask_loadu_pd(lowest, classes(j), row + j); };
    __m512d high = lowest;
    for (index j = 0; j < k; j += 8) high = _mm512_maskz_max_pd(all, high, load(j));
    high = _mm512_maskz_max_pd(all, high, _mm512_maskz_shuffle_f64x2(all, high, high, 0x4E));
    high = _mm512_maskz_max_pd(all, high, _mm512_maskz_shuffle_f64x2(all, high, high, 0xB1));
    high = _mm512_maskz_max_pd(all, high, _mm512_maskz_shuffle_pd(all, high, high, 0x55));
    _mm512_mask_storeu_pd(most + i, 1, high);
    const __m512d shift = _mm512_maskz_mov_pd(_mm512_cmp_pd_mask(high, lowest, _CMP_GT_OQ), high);
    for (index j = 0; j < k; j += 8, ++to) {
      const __m512d below = _mm512_sub_pd(load(j), shift);
      *to = _mm512_cmp_pd_mask(below, least, _CMP_GT_OQ);
      _mm512_storeu_pd(some + n, _mm512_maskz_compress_pd(*to, below));
      n += __builtin_popcount(*to);
    }
  }
  exp_below(some, n);
  const double* from = some;
  for (index v = 0; v < rows * stride / 8; ++v) {
    _mm512_storeu_pd(x + 8 * v, _mm512_mask_expand_pd(least_exp, which[v], _mm512_loadu_pd(from)));
    from += __builtin_popcount(which[v]);
  }
}

#else

inline bool are_packed(index) noexcept { return false; }
inline void packed_exps(double*, index, index, double*) noexcept {}

#endif

/// x[i, j] becomes exp_below(x[i, j] - most[i]), most[i] being the maximum of row i; that of x[i, j] where it is -inf.
inline void exps_below(double* x, index rows, index k, double* most) noexcept {
  for (index i = 0; i < rows; ++i) {
    double* const row = x + i * k;
    most[i] = row[0];
    for (index j = 1; j < k; ++j) most[i] = row[j] > most[i] ? row[j] : most[i];
    const double shift = most[i] > -double_of(elementary::infinity_bits) ? most[i] : 0.0;
    for (index j = 0; j < k; ++j) row[j] = row[j] - shift;
  }
  exp_below(x, rows * k);
}

/// How far apart rows of a tile are.
inline index stride_of(index k) noexcept { return are_packed(k) ? whole_lines(k) : k; }

/// sums[i] = the sum of row i of so many that are `stride` apart, left to right.
template <int Rows>
inline void sum_rows(const double* x, index k, index stride, double* sums) noexcept {
  double sum[Rows] = {};
  for (index j = 0; j < k; ++j)
    for (int i = 0; i < Rows; ++i) sum[i] += x[i * stride + j];
  for (int i = 0; i < Rows; ++i) sums[i] = sum[i];
}

}  // namespace posterior_tiles

/// x[i, j] becomes its posterior times weights[i] (1 where null), rounded to a multiple of a unit: `grid` is 1.5 * 2^52
/// units, and no weight reaches 2^51 of them. Impossible rows have the prior. evidence[i] = log sum_j exp(x[i, j]). Of
/// one tile: rows lie stride_of(k) apart, and fill at most its cells, or are one.
TALLYDRAW_APART inline void weigh_posterior(double* x, index rows, index k, const double* prior, const double* weights,
                                            double grid, double* evidence) {
  namespace t = posterior_tiles;
  const index stride = t::stride_of(k);
  double most[t::cells];
  if (t::are_packed(k))
    t::packed_exps(x, rows, k, most);
  else
    t::exps_below(x, rows, k, most);
  index summed = 0;
  for (; summed + 4 <= rows; summed += 4) t::sum_rows<4>(x + summed * stride, k, stride, evidence + summed);
  for (; summed < rows; ++summed) t::sum_rows<1>(x + summed * stride, k, stride, evidence + summed);
  for (index i = 0; i < rows; ++i) {
    double* const row = x + i * stride;
    const double weight = weights ? weights[i] : 1.0;
    const bool possible = evidence[i] >= 1.0;  // what is impossible has sums of e^-44
    const double* const from = possible ? row : prior;
    const double factor = possible ? weight / evidence[i] : weight;
    for (index j = 0; j < k; ++j) row[j] = (from[j] * factor + grid) - grid;
  }
  log(evidence, rows, evidence);
  for (index i = 0; i < rows; ++i) evidence[i] = most[i] + evidence[i];  // -inf where impossible
}

/// out[i, j] = x[i, j] times weights[i], rounded in the same way.
inline void weigh_shares(const double* x, index rows, index k, const double* weights, double grid, double* out) {
  for (index i = 0; i < rows; ++i) {
    const double weight = weights ? weights[i] : 1.0;
    for (index j = 0; j < k; ++j) out[i * k + j] = (x[i * k + j] * weight + grid) - grid;
  }
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
