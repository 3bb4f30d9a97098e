// The maximum spanning forest (spanning_forest.hpp) of the mutual information (pair_information.hpp) of features of two
// categories. Of a pair that a bound shows to be worse than an arc that there is already, nothing more is asked: exact
// is what decides, and these are few pairs.
//
// The bound: I = sum_c q_c f(t_c) over the cells of a table, t = p / q - 1, f(t) = (1 + t) log(1 + t) - t. For t >= -1,
//   f(t) <= t^2 / 2 - t^3 / 6 + t^4 / 3:
// where t > 0 even with t^4 / 12, the integral of log(1 + t) <= t - t^2 / 2 + t^3 / 3; where t <= 0 the other terms of the series
// are t^4 (1 / 12 + |t| / 20 + |t|^2 / 30 + …), at most t^4 / 3. And I <= log(1 + x) <= x, x = sum_c q_c t_c^2 (Gibbs &
// Su, 2002, "On choosing and bounding probability metrics"). In a 2 x 2 table q_c t_c = +-delta, and the sums of q t^2,
// q t^3 and q t^4 over the cells are products of sums over its margins.
#pragma once

#include <cstdint>
#include <cstring>

#include "tallydraw/bit_columns.hpp"
#include "tallydraw/pair_information.hpp"
#include "tallydraw/transpose.hpp"

namespace tallydraw::TALLYDRAW_ISA {

constexpr index bound_lanes = 16;
static_assert(bound_lanes % pair_lanes == 0, "vertices past the last are of no pair");

/// How bounds are compared: the bits of a float, which order floats that are not negative as they do integers.
using bound_bits = std::int32_t;
constexpr bound_bits no_bound = INT32_MAX - 1, above_all = INT32_MAX, below_all = INT32_MIN;

inline index bound_stride(index d) { return (d + bound_lanes - 1) / bound_lanes * bound_lanes; }

/// Scratch that information_forest needs, in words of 64 bits.
inline index information_forest_scratch(const structure_view& s) {
  const index side = bound_stride(s.d);
  return side * side / 2 + 4 * side + pair_information_words(s);
}

/// bounds[l], at least the information of the l-th of bound_lanes tables of 2 x 2 counts side by side, with the lesser
/// of `mine` and others[l] in each cell; what rounding could take from either is allowed for.
template <class Count>
TALLYDRAW_APART inline void bound_information(const Count* tables, double mine, const double* others,
                                              bound_bits* bounds) {
  constexpr double relative = 1e-6, absolute = 1e-13;
  // Where the product of the margins is not far from either end of the numbers nothing can be said.
  constexpr double least = 1e-200, most = 1e200;
  const double no_number = double_of(elementary::nan_bits);
  // Of numbers that are not negative, compared as integers, of which compilers make vectors; NaN is the greatest.
  const auto lesser = [](double x, double y) { return elementary::select(bits_of(x) < bits_of(y), x, y); };
  double n00[bound_lanes], n01[bound_lanes], n10[bound_lanes], n11[bound_lanes];
  for (index l = 0; l < bound_lanes; ++l) {
    n00[l] = static_cast<double>(tables[4 * l]);
    n01[l] = static_cast<double>(tables[4 * l + 1]);
    n10[l] = static_cast<double>(tables[4 * l + 2]);
    n11[l] = static_cast<double>(tables[4 * l + 3]);
  }
  float to[bound_lanes];
  for (index l = 0; l < bound_lanes; ++l) {
    const double more = lesser(mine, others[l]);
    const double m00 = n00[l] + more, m01 = n01[l] + more, m10 = n10[l] + more, m11 = n11[l] + more;
    // Of counts instead of probabilities, whose sums cancel out; one division.
    const double a0 = m00 + m01, a1 = m10 + m11, b0 = m00 + m10, b1 = m01 + m11, n = a0 + a1;
    const double u = a0 * a1, v = b0 * b1, delta = m00 * m11 - m01 * m10;
    const double w = 1.0 / elementary::select((u * v >= least) & (u * v <= most), u * v, no_number);
    const double y = delta * w, x = delta * y;  // x = sum q t^2
    const double third = y * ((a1 - a0) * (b1 - b0)), fourth = x * w * ((n * n - 3.0 * u) * (n * n - 3.0 * v));
    const double series = 0.5 - third * (1.0 / 6) + fourth * (1.0 / 3);
    to[l] = static_cast<float>(x * lesser(series, 1.0) * (1.0 + relative) + absolute);
  }
  std::memcpy(bounds, to, sizeof to);
  // What is no number, as of a margin of zeros, is no bound; its sign may be set.
  for (index l = 0; l < bound_lanes; ++l)
    bounds[l] = static_cast<std::uint32_t>(bounds[l]) < std::uint32_t{no_bound} ? bounds[l] : no_bound;
}

/// The bounds of n tables side by side.
template <class Count>
inline void bound_row(const Count* tables, double mine, const double* others, index n, bound_bits* bounds) {
  index at = 0;
  for (; at + bound_lanes <= n; at += bound_lanes) bound_information(tables + 4 * at, mine, others + at, bounds + at);
  if (at == n) return;
  const auto rest = static_cast<std::size_t>(n - at);
  Count some[4 * bound_lanes] = {};
  double of_some[bound_lanes] = {};
  bound_bits to[bound_lanes];
  std::memcpy(some, tables + 4 * at, 4 * rest * sizeof(Count));
  std::memcpy(of_some, others + at, rest * sizeof(double));
  bound_information(some, mine, of_some, to);
  std::memcpy(bounds + at, to, rest * sizeof(bound_bits));
}

/// The bounds of all pairs of features, both ways round: row i, bound_stride(d) long, has those of i and 0 … d - 1, and
/// nothing else that could be of use.
template <class Count>
inline void bound_all(index d, const Count* counts, const double* pseudocounts, bound_bits* bounds, int threads) {
  constexpr index least_pairs = 1 << 14;  // worth another thread
  const index stride = bound_stride(d);
  parallel_blocks(d, bound_lanes, d * d / 4 < least_pairs ? 1 : threads, [&](index i0, index i1, int) {
    for (index i = i0; i < i1; ++i) {
      bound_bits* const row = bounds + i * stride;
      row[i] = below_all;
      for (index j = d; j < stride; ++j) row[j] = below_all;
      bound_row(counts + 4 * pair_of(i, i + 1, d), pseudocounts[i], pseudocounts + i + 1, d - 1 - i, row + i + 1);
      for (index l = i0; l < i; ++l) row[l] = bounds[l * stride + i];
    }
    for (index j0 = i0 + bound_lanes; j0 < d; j0 += bound_lanes) {
      bound_bits tile[bound_lanes * bound_lanes], turned[bound_lanes * bound_lanes];
      for (index i = 0; i < bound_lanes; ++i)
        std::memcpy(tile + i * bound_lanes, bounds + (i0 + i) * stride + j0, bound_lanes * sizeof(bound_bits));
      const bound_bits* const columns = transpose(tile, turned, bound_lanes, bound_lanes);
      for (index l = 0; l < bound_lanes; ++l)
        std::memcpy(bounds + (j0 + l) * stride + i0, columns + l * bound_lanes, bound_lanes * sizeof(bound_bits));
    }
  });
}

/// The information of up to pair_lanes pairs of features, exact, -inf where their counts are all zero.
template <class Count>
inline void inform_pairs(const Count* counts, const double* more, const index* pair, index n, double* scratch,
                         double (&information)[pair_lanes]) {
  constexpr std::integral_constant<index, 1> one{};
  constexpr std::integral_constant<index, 2> two{};
  const Count* table[pair_lanes];
  double own[pair_lanes], seen[pair_lanes];
  for (index l = 0; l < pair_lanes; ++l) {  // lanes past the end do the last pair again
    table[l] = counts + 4 * pair[l < n ? l : n - 1];
    own[l] = more[l < n ? l : n - 1];
  }
  inform<pair_lanes>(table, own, one, two, two, scratch, seen, information);
  for (index l = 0; l < pair_lanes; ++l)
    if (!(seen[l] > 0.0)) information[l] = -double_of(elementary::infinity_bits);
}

/// An integer that orders floats as they are ordered.
inline std::int64_t order_of(double x) noexcept {
  const auto bits = static_cast<std::int64_t>(bits_of(x));
  return bits < 0 ? INT64_MIN - bits : bits;  // -0 and 0 are equal
}

/// Bit l is set where a[l] >= b[l], of bound_lanes bounds.
inline unsigned not_below(const bound_bits* a, const bound_bits* b) {
#if defined(__AVX512F__)
  return _mm512_cmpge_epi32_mask(_mm512_loadu_si512(a), _mm512_loadu_si512(b));
#else
  unsigned met = 0;
  for (index l = 0; l < bound_lanes; ++l) met |= (a[l] >= b[l] ? 1u : 0u) << l;
  return met;
#endif
}

/// Bit l is set where x[l] == y, of pair_lanes numbers.
inline unsigned equal_to(const std::int64_t* x, std::int64_t y) {
#if defined(__AVX512F__)
  return _mm512_cmpeq_epi64_mask(_mm512_loadu_si512(x), _mm512_set1_epi64(y));
#else
  unsigned met = 0;
  for (index l = 0; l < pair_lanes; ++l) met |= (x[l] == y ? 1u : 0u) << l;
  return met;
#endif
}

template <class Count>
inline void information_forest_of(index d, const Count* counts, const double* pseudocounts, index root, index* parents,
                                  bound_bits* bounds, double* words, int threads) {
  const index stride = bound_stride(d);
  const double none = -double_of(elementary::infinity_bits);
  bound_all(d, counts, pseudocounts, bounds, threads);

  // Of each vertex outside: the order of the gain of the best arc from the forest, no pair's bound below which is of
  // use, and its pair. Vertices inside, and past the last, are of the least order, and no bound is of use.
  auto* const best = reinterpret_cast<std::int64_t*>(words);
  index* const arc = reinterpret_cast<index*>(best + stride);
  auto* const useful = reinterpret_cast<bound_bits*>(arc + stride);
  auto* const candidates = reinterpret_cast<index*>(useful + 2 * stride);
  double* const scratch = words + 4 * stride;
  for (index u = 0; u < stride; ++u) {
    best[u] = u < d ? order_of(none) : INT64_MIN;
    arc[u] = -1;
    useful[u] = u < d ? below_all + 1 : above_all;
    if (u < d) parents[u] = -1;
  }
  for (index v = root, left = d - 1;; --left) {
    best[v] = INT64_MIN;
    useful[v] = above_all;
    if (left == 0) return;
    const bound_bits* const row = bounds + v * stride;
    index n = 0;
    for (index u = 0; u < stride; u += bound_lanes)
      for (unsigned met = not_below(row + u, useful + u); met; met &= met - 1) candidates[n++] = u + lowest_bit(met);
    for (index at = 0; at < n; at += pair_lanes) {
      const index m = n - at < pair_lanes ? n - at : pair_lanes;
      index pair[pair_lanes];
      double more[pair_lanes], gain[pair_lanes];
      for (index l = 0; l < m; ++l) {
        const index u = candidates[at + l];
        pair[l] = u < v ? pair_of(u, v, d) : pair_of(v, u, d);
        more[l] = pseudocounts[u] < pseudocounts[v] ? pseudocounts[u] : pseudocounts[v];
      }
      inform_pairs(counts, more, pair, m, scratch, gain);
      for (index l = 0; l < m; ++l) {
        const index u = candidates[at + l];
        const std::int64_t order = order_of(gain[l]);
        if (!(gain[l] > none) || order < best[u] || (order == best[u] && pair[l] >= arc[u])) continue;
        best[u] = order;
        arc[u] = pair[l];
        parents[u] = v;
        const auto least = static_cast<float>(gain[l] * (1.0 - 1e-6));
        if (gain[l] > 0.0) std::memcpy(useful + u, &least, sizeof least);
      }
    }
    std::int64_t most[pair_lanes];
    for (std::int64_t& order : most) order = INT64_MIN;
    for (index u = 0; u < stride; u += pair_lanes)
      for (index l = 0; l < pair_lanes; ++l) most[l] = best[u + l] > most[l] ? best[u + l] : most[l];
    for (std::int64_t order : most) most[0] = order > most[0] ? order : most[0];
    index next = -1;
    for (index u = 0; u < stride; u += pair_lanes)
      for (unsigned met = equal_to(best + u, most[0]); met; met &= met - 1) {
        const index other = u + lowest_bit(met);
        if (next < 0 || (arc[other] >= 0 && arc[other] < arc[next])) next = other;
      }
    v = next;
  }
}

/// Parents as of spanning_forest, of the information of pair_information, of d features of two categories without a
/// class, pair p's counts from 4 p on. One of `floats` and `integers` is null.
inline void information_forest(const structure_view& s, const double* floats, const index* integers,
                               const double* pseudocounts, index root, index* parents, void* scratch, int threads) {
  const index side = bound_stride(s.d);
  auto* const bounds = static_cast<bound_bits*>(scratch);
  double* const words = static_cast<double*>(scratch) + side * side / 2;
  if (floats)
    information_forest_of(s.d, floats, pseudocounts, root, parents, bounds, words, threads);
  else
    information_forest_of(s.d, integers, pseudocounts, root, parents, bounds, words, threads);
}

}  // namespace tallydraw::TALLYDRAW_ISA
