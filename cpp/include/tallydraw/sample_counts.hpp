// Multinomial counts as conditional binomials, outcomes from left to right: outcome c takes a binomial share of what is
// left, p = (L_c - L_(c-1)) / (2^64 - L_(c-1)). Both p and q come from the levels, so neither loses digits near 1; the
// last outcome of any weight has L_c = 2^64 and takes the rest, and one of no weight takes nothing. The counter of a
// count is (row low, row high, outcome, attempt * 256 + 8): one block an attempt.
//
// A row is a chain of counts that each wait for the last. Several rows go side by side, outcome by outcome: what most
// counts need is done in vector lanes, for all of them, and the few left over alone, by the same operations on the same
// words.
#pragma once

#include <cmath>
#include <cstdint>

#include "tallydraw/binomial.hpp"
#include "tallydraw/elementary.hpp"
#include "tallydraw/parallel.hpp"
#include "tallydraw/philox.hpp"
#include "tallydraw/views.hpp"

namespace tallydraw::TALLYDRAW_ISA {

namespace counts {

constexpr index together = 16;  // rows side by side
constexpr index chunk = 8;      // outcomes whose words are made at once

/// A word as float64, rounded once.
inline double as_double(std::uint64_t x) noexcept {
  return (double_of(x >> 32 | 0x4530000000000000) - 0x1.00000001p84) + double_of((x & 0xFFFFFFFF) | 0x4330000000000000);
}

constexpr std::uint64_t settled = 0, small = 1, large = 2, rejected = 3;

/// m rows side by side at one outcome. p and q are swapped where p > 1/2: then the count is that of all other outcomes.
struct lanes_of_rows {
  double trials[together];          // left over
  std::uint64_t level[together];    // that the outcomes up to now have reached
  std::uint64_t here[together];     // that of this outcome
  std::uint64_t swapped[together];  // 0 or 1
  double p[together];
  double q[together];
  double u[together];
  double v[together];
  double k[together];            // the count of the rarer side
  index count[together];         // the count of this outcome
  std::uint64_t kind[together];  // what is known of it
};

/// p and q of this outcome.
inline void share(lanes_of_rows& r, index m) noexcept {
  for (index l = 0; l < m; ++l) {
    const std::uint64_t width = r.here[l] - r.level[l];
    const std::uint64_t beyond = 0 - r.here[l];  // 2^64 - L_c
    const double whole = elementary::select(r.level[l] == 0, 0x1p64, as_double(0 - r.level[l]));
    const double p = as_double(width) / whole;
    const double q = as_double(beyond) / whole;
    const bool swap = p > q;
    r.swapped[l] = swap;
    r.p[l] = elementary::select(swap, q, p);
    r.q[l] = elementary::select(swap, p, q);
  }
}

/// The first attempt, by comparisons alone.
inline void try_first(lanes_of_rows& r, index m) noexcept {
  for (index l = 0; l < m; ++l) {
    const double n = r.trials[l];
    const double np = n * r.p[l];
    const transformed t = transform(np, r.p[l], r.q[l]);
    const double place = t.place(r.u[l]);
    const std::uint64_t is_small = np < 10.0;
    const std::uint64_t outside =
        static_cast<std::uint64_t>(place < 0.0) | static_cast<std::uint64_t>(place >= n + 1.0);
    const std::uint64_t sure = static_cast<std::uint64_t>(t.middle(r.u[l])) & static_cast<std::uint64_t>(t.low(r.v[l]));
    const std::uint64_t none = r.u[l] < surely_none(np);
    // large: 2, rejected: 3, or 0 where sure; small: 1, or 0 where none.
    const std::uint64_t kind_large = (large | outside) & (0 - (outside | (sure ^ 1)));
    const std::uint64_t kind_small = none ^ 1;
    const std::uint64_t mask = 0 - is_small;
    r.kind[l] = (kind_small & mask) | (kind_large & ~mask);
    r.k[l] = elementary::select(np < 10.0, 0.0, whole_part(place));
  }
}

/// The first attempt of the large counts, by its last comparison; those without the series stay large.
inline void try_curve(lanes_of_rows& r, index m) noexcept {
  double left[together];
  double right[together];
  for (index l = 0; l < m; ++l) {
    const double n = r.trials[l];
    const transformed t = transform(n * r.p[l], r.p[l], r.q[l]);
    const double mode = whole_part((n + 1.0) * r.p[l]);
    const auto test = binomial_parts::compare<true>(t.height(r.u[l], r.v[l]), r.k[l], mode, n, r.p[l], r.q[l]);
    left[l] = test.left;
    right[l] = test.log_right;
  }
  for (index l = 0; l < m; ++l) right[l] = exp(right[l]);
  for (index l = 0; l < m; ++l)
    if (r.kind[l] == large && binomial_parts::near_mode(r.k[l], r.trials[l], r.p[l], r.q[l]))
      r.kind[l] = left[l] <= right[l] ? settled : rejected;
}

/// The counts of outcome c of m rows, the first of them `row`; words[4 l stride …] is the first block of row l.
inline void draw(lanes_of_rows& r, index m, const std::uint32_t* words, index stride, std::uint64_t key,
                 std::uint64_t row, std::uint32_t c) noexcept {
  share(r, m);
  for (index l = 0; l < m; ++l) {
    const std::uint32_t* w = words + 4 * stride * l;
    r.u[l] = unit(w[0], w[1]);
    r.v[l] = unit(w[2], w[3]);
  }
  try_first(r, m);

  index n_large = 0;
  index n_small = 0;
  for (index l = 0; l < m; ++l) {
    n_large += r.kind[l] == large;
    n_small += r.kind[l] == small;
  }
  // All lanes for three counts or more: less work than three alone.
  if (n_large > 2) try_curve(r, m);
  double none[together];
  if (n_small > 2)
    for (index l = 0; l < m; ++l) none[l] = chance_of_none(r.trials[l], r.p[l]);

  for (index l = 0; l < m; ++l) {
    double count = r.trials[l];
    if (r.here[l] != UINT64_MAX) {
      double k = r.k[l];
      if (r.kind[l] != settled) {
        const bool inverted = r.kind[l] == small && n_small > 2;
        if (inverted) k = invert(r.trials[l], r.p[l], r.q[l], r.u[l], none[l]);
        if (!inverted || k < 0.0) {
          attempts at{key, row + static_cast<std::uint64_t>(l), c, 0, r.u[l], r.v[l]};
          if (inverted || r.kind[l] == rejected) at.next();
          k = binomial(r.trials[l], r.p[l], r.q[l], at);
        }
      }
      count = r.swapped[l] ? r.trials[l] - k : k;
    }
    r.count[l] = static_cast<index>(count);
    r.trials[l] -= count;
    r.level[l] = r.here[l];
  }
}

}  // namespace counts

/// out[t], of n_columns counts, is how totals[t] draws from the table row rows[t] of `level` fall; the stream is row
/// start + t. totals <= 2^53.
inline void sample_counts(const std::uint64_t* level, index n_columns, const index* rows, const index* totals, index n,
                          std::uint64_t key, std::uint64_t start, index* out, int threads) {
  using counts::chunk;
  using counts::together;
  const index free = n_columns - 1;
  const index grain = (1 + 128 / n_columns) * together;
  parallel_blocks(n, grain, threads, [=](index first, index last, int) {
    std::uint32_t words[4 * together * chunk];
    for (index a = first; a < last; a += together) {
      const index m = last - a < together ? last - a : together;
      const std::uint64_t row = start + static_cast<std::uint64_t>(a);
      counts::lanes_of_rows r;
      const std::uint64_t* levels[together];
      for (index l = 0; l < m; ++l) {
        r.trials[l] = static_cast<double>(totals[a + l]);
        r.level[l] = 0;
        levels[l] = level + rows[a + l] * n_columns;
      }
      for (index begin = 0; begin < free; begin += chunk) {
        const index width = free - begin < chunk ? free - begin : chunk;
        fill_cells(key, counter_tag(purpose::counts, 0), row, m, static_cast<std::uint32_t>(begin), width, words);
        index drawn[together][chunk];  // whole lines are written at once
        for (index i = 0; i < width; ++i) {
          for (index l = 0; l < m; ++l) r.here[l] = levels[l][begin + i];
          counts::draw(r, m, words + 4 * i, width, key, row, static_cast<std::uint32_t>(begin + i));
          for (index l = 0; l < m; ++l) drawn[l][i] = r.count[l];
        }
        for (index l = 0; l < m; ++l)
          for (index i = 0; i < width; ++i) out[(a + l) * n_columns + begin + i] = drawn[l][i];
      }
      for (index l = 0; l < m; ++l) out[(a + l) * n_columns + free] = static_cast<index>(r.trials[l]);
    }
  });
}

}  // namespace tallydraw::TALLYDRAW_ISA
