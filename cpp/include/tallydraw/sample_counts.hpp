// Multinomial counts as conditional binomials, outcomes from left to right: outcome c takes a binomial share of what is
// left, p = (L_c - L_(c-1)) / (2^64 - L_(c-1)). Both p and q come from the levels, so neither loses digits near 1; the
// last outcome of any weight has L_c = 2^64 and takes the rest, and one of no weight takes nothing. The counter of a
// count is (row low, row high, outcome, attempt * 256 + 8): one block an attempt.
//
// A row is a chain of counts that each wait for the last. Several rows go side by side, outcome by outcome: what every
// count needs is done in vector lanes, for all of them; those that this does not settle are brought together and go on
// in lanes of their own, attempt by attempt, and the last few alone, by the same operations on the same words.
#pragma once

#include <algorithm>
#include <cstdint>

#include "tallydraw/binomial.hpp"
#include "tallydraw/elementary.hpp"
#include "tallydraw/parallel.hpp"
#include "tallydraw/philox.hpp"
#include "tallydraw/tile.hpp"
#include "tallydraw/views.hpp"

namespace tallydraw::TALLYDRAW_ISA {

namespace counts {

constexpr index together = 64;  // rows side by side
constexpr index chunk = 8;      // outcomes whose words are made at once
constexpr index alone = 2;      // counts that are less work one by one (measured)
constexpr index few = 6;        // rows of which every count is (measured)

/// A word as float64, rounded once.
inline double as_double(std::uint64_t x) noexcept {
  return (double_of(x >> 32 | 0x4530000000000000) - 0x1.00000001p84) + double_of((x & 0xFFFFFFFF) | 0x4330000000000000);
}

constexpr std::uint64_t settled = 0, small = 1, large = 2, rejected = 3;

/// Counts side by side and an attempt at each. p is at most 1/2.
struct lanes_of_attempts {
  double trials[together];
  double p[together];
  double q[together];
  double u[together];
  double v[together];
  double k[together];
  std::uint64_t kind[together];  // what is known of k
};

/// f(l) for the lanes l < m, and the next up to a multiple of 8: whole vectors, on any instruction set.
template <class Function>
inline void in_lanes(index m, const Function& f) noexcept {
  for (index begin = 0; begin < m; begin += 8)
    for (index l = begin; l < begin + 8; ++l) f(l);
}

/// Rows side by side at one outcome. p and q are swapped where p > 1/2: then the count is that of all other outcomes.
struct lanes_of_rows {
  lanes_of_attempts first;          // its trials: those left over
  std::uint64_t level[together];    // that the outcomes up to now have reached
  std::uint64_t here[together];     // that of this outcome
  std::uint64_t swapped[together];  // 0 or 1
  index count[together];            // the count of this outcome
};

/// p and q of this outcome in lane l.
inline void share_of(lanes_of_rows& r, index l) noexcept {
  const std::uint64_t width = r.here[l] - r.level[l];
  const std::uint64_t beyond = 0 - r.here[l];  // 2^64 - L_c
  const double whole = elementary::select(r.level[l] == 0, 0x1p64, as_double(0 - r.level[l]));
  const double p = as_double(width) / whole;
  const double q = as_double(beyond) / whole;
  const bool swap = width > beyond;  // as integers: where they differ, p and q may be equal
  r.swapped[l] = swap;
  r.first.p[l] = elementary::select(swap, q, p);
  r.first.q[l] = elementary::select(swap, p, q);
}

/// The same in m lanes.
TALLYDRAW_APART inline void share(lanes_of_rows& r, index m) noexcept {
  in_lanes(m, [&](index l) { share_of(r, l); });
}

/// The same in one vector, for all of them.
inline void share_alike(lanes_of_rows& r, index m) noexcept {
  share(r, 1);
  in_lanes(m, [&, swapped = r.swapped[0], p = r.first.p[0], q = r.first.q[0]](index l) {
    r.swapped[l] = swapped;
    r.first.p[l] = p;
    r.first.q[l] = q;
  });
}

/// The uniforms of m attempts: words[w stride + l] is word w of that in lane l.
inline void take_words(lanes_of_attempts& r, index m, const std::uint32_t* words, index stride) noexcept {
  in_lanes(m, [&](index l) {
    r.u[l] = unit(words[l], words[stride + l]);
    r.v[l] = unit(words[2 * stride + l], words[3 * stride + l]);
  });
}

/// m attempts, by comparisons alone.
TALLYDRAW_APART inline void try_once(lanes_of_attempts& r, index m) noexcept {
  in_lanes(m, [&](index l) {
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
  });
}

/// The large ones of m attempts, by the last comparison; with Series those without them stay large.
template <bool Series>
TALLYDRAW_APART inline void try_curve(lanes_of_attempts& r, index m) noexcept {
  in_lanes(m, [&](index l) {
    const double n = r.trials[l], p = r.p[l], q = r.q[l];
    const transformed t = transform(n * p, p, q);
    const double mode = whole_part((n + 1.0) * p);
    const auto test = binomial_parts::compare<Series>(t.height(r.u[l], r.v[l]), r.k[l], mode, n, p, q);
    const std::uint64_t below = test.left <= exp(test.log_right);
    const std::uint64_t sure = Series ? binomial_parts::near_mode(r.k[l], n, p, q) : 1;
    const std::uint64_t mask = 0 - (sure & static_cast<std::uint64_t>(r.kind[l] == large));
    r.kind[l] = ((rejected & (below - 1)) & mask) | (r.kind[l] & ~mask);
  });
}

/// The small ones of m attempts, by the steps of `invert`.
TALLYDRAW_APART inline void try_inverse(lanes_of_attempts& r, index m) noexcept {
  double left[together];
  double probability[together];
  double odds[together];
  double k[together];
  in_lanes(m, [&](index l) {
    left[l] = elementary::select(r.kind[l] == small, r.u[l], -1.0);
    probability[l] = chance_of_none(r.trials[l], r.p[l]);
    odds[l] = r.p[l] / r.q[l];
    k[l] = 0.0;
  });
  std::uint64_t going = 1;
  for (int x = 1; going != 0; ++x) {
    going = 0;
    in_lanes(m, [&, one_over_x = binomial_parts::one_over.of[x]](index l) {
      const double n = r.trials[l];
      const std::uint64_t more = left[l] > probability[l];
      const std::uint64_t over = more & (static_cast<std::uint64_t>(x > n) | static_cast<std::uint64_t>(x > 110));
      const double rest = left[l] - elementary::select(more != 0, probability[l], 0.0);
      left[l] = elementary::select(over != 0, -1.0, rest);
      probability[l] *= elementary::select(more != 0, (n + 1.0) * odds[l] * one_over_x - odds[l], 1.0);
      k[l] = elementary::select(over != 0, -1.0, elementary::select(more != 0, x, k[l]));
      going |= more;
    });
  }
  in_lanes(m, [&](index l) {
    const std::uint64_t mask = 0 - static_cast<std::uint64_t>(r.kind[l] == small);
    const std::uint64_t kind = rejected & (0 - static_cast<std::uint64_t>(k[l] < 0.0));
    r.k[l] = elementary::select(mask != 0, k[l], r.k[l]);
    r.kind[l] = (kind & mask) | (r.kind[l] & ~mask);
  });
}

/// Some of the lanes of other attempts, brought together.
struct lanes_among {
  lanes_of_attempts of;
  index lane[together];
  index n;

  /// Those of m of which `chosen` is true.
  template <class Chosen>
  lanes_among(const lanes_of_attempts& all, index m, const Chosen& chosen) noexcept {
    index found = 0;
    for (index l = 0; l < m; ++l) {
      lane[found] = l;
      found += chosen(all.kind[l]);
    }
    n = found;
    for (index i = 0; i < found; ++i) {
      const index l = lane[i];
      of.trials[i] = all.trials[l];
      of.p[i] = all.p[l];
      of.q[i] = all.q[l];
      of.u[i] = all.u[l];
      of.v[i] = all.v[l];
      of.k[i] = all.k[l];
      of.kind[i] = all.kind[l];
    }
    for (index i = found; i % 8 != 0; ++i) {  // see in_lanes
      of.trials[i] = of.p[i] = of.q[i] = of.u[i] = of.v[i] = of.k[i] = 0.0;
      of.kind[i] = settled;
    }
  }
  lanes_among(const lanes_of_attempts& all, index m, std::uint64_t kind) noexcept
      : lanes_among(all, m, [=](std::uint64_t other) { return other == kind; }) {}

  void put_back(lanes_of_attempts& all) const noexcept {
    for (index i = 0; i < n; ++i) {
      all.k[lane[i]] = of.k[i];
      all.kind[lane[i]] = of.kind[i];
    }
  }
};

/// Settles n attempts at outcome c of these rows that comparisons did not settle.
inline void settle(lanes_of_attempts& r, index n, std::uint64_t key, const std::uint64_t* rows, std::uint32_t c,
                   std::uint32_t attempt) noexcept {
  if (n <= alone) {
    for (index i = 0; i < n; ++i) {
      attempts at{key, rows[i], c, attempt, r.u[i], r.v[i]};
      if (r.kind[i] == rejected) at.next();
      r.k[i] = binomial(r.trials[i], r.p[i], r.q[i], at);
    }
    return;
  }
  std::uint64_t kinds = 0;
  for (index i = 0; i < n; ++i) kinds |= std::uint64_t{1} << r.kind[i];
  if (kinds >> small & 1) {
    lanes_among some(r, n, small);
    try_inverse(some.of, some.n);
    some.put_back(r);
  }
  if (kinds >> large & 1) {
    try_curve<true>(r, n);
    lanes_among some(r, n, large);
    if (some.n > 0) try_curve<false>(some.of, some.n);
    some.put_back(r);
  }
  lanes_among some(r, n, rejected);
  if (some.n == 0) return;
  std::uint64_t again[together + lanes] = {};
  for (index i = 0; i < some.n; ++i) again[i] = rows[some.lane[i]];
  if (some.n > alone) {
    std::uint32_t words[4][together];
    fill_columns(key, counter_tag(purpose::counts, 0, ++attempt), again, some.n, c,
                 {words[0], words[1], words[2], words[3]});
    take_words(some.of, some.n, words[0], together);
    try_once(some.of, some.n);
  }
  settle(some.of, some.n, key, again, c, attempt);
  some.put_back(r);
}

/// The count of this outcome in lane l.
inline void take(lanes_of_rows& r, index l) noexcept {
  const double trials = r.first.trials[l];
  const double k = elementary::select(r.swapped[l] != 0, trials - r.first.k[l], r.first.k[l]);
  const double count = elementary::select(r.here[l] == UINT64_MAX, trials, k);
  r.count[l] = static_cast<index>(count);
  r.first.trials[l] = trials - count;
  r.level[l] = r.here[l];
}

/// The counts of outcome c of m rows, the first of them `row`; words[w stride + l] is word w of the first attempt of row
/// l; alike: they are drawn from the same table row.
inline void draw(lanes_of_rows& r, index m, bool alike, const std::uint32_t* words, index stride, std::uint64_t key,
                 std::uint64_t row, std::uint32_t c) noexcept {
  if (alike)
    share_alike(r, m);
  else
    share(r, m);
  take_words(r.first, m, words, stride);
  try_once(r.first, m);
  in_lanes(m, [&](index l) { r.first.kind[l] &= 0 - static_cast<std::uint64_t>(r.here[l] != UINT64_MAX); });
  lanes_among open(r.first, m, [](std::uint64_t kind) { return kind != settled; });
  std::uint64_t rows[together];
  for (index i = 0; i < open.n; ++i) rows[i] = row + static_cast<std::uint64_t>(open.lane[i]);
  settle(open.of, open.n, key, rows, c, 0);
  open.put_back(r.first);
  in_lanes(m, [&](index l) { take(r, l); });
}

/// The same of a few rows, one by one.
inline void draw_few(lanes_of_rows& r, index m, const std::uint32_t* words, index stride, std::uint64_t key,
                     std::uint64_t row, std::uint32_t c) noexcept {
  for (index l = 0; l < m; ++l) {
    share_of(r, l);
    const std::uint32_t* const w = words + l;
    const attempts at{
        key, row + static_cast<std::uint64_t>(l), c, 0, unit(w[0], w[stride]), unit(w[2 * stride], w[3 * stride])};
    if (r.here[l] != UINT64_MAX) r.first.k[l] = binomial(r.first.trials[l], r.first.p[l], r.first.q[l], at);
    take(r, l);
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
  const index least = 16, most = (1 + 128 / n_columns) * together;  // rows of a thread's piece
  const index grain = std::min(most, std::max(least, (n + threads - 1) / threads));
  parallel_blocks(n, grain, threads, [=](index first, index last, int) {
    std::uint32_t words[4 * together * chunk];
    for (index a = first; a < last; a += together) {
      const index m = last - a < together ? last - a : together;
      const std::uint64_t row = start + static_cast<std::uint64_t>(a);
      counts::lanes_of_rows r;
      const std::uint64_t* levels[together];
      std::uint64_t stream[together] = {};
      bool alike = true;
      for (index l = 0; l < m; ++l) {
        r.first.trials[l] = static_cast<double>(totals[a + l]);
        r.level[l] = 0;
        levels[l] = level + rows[a + l] * n_columns;
        stream[l] = row + static_cast<std::uint64_t>(l);
        alike &= rows[a + l] == rows[a];
      }
      for (index l = m; l % 8 != 0; ++l) {  // see in_lanes
        r.first.trials[l] = r.first.k[l] = 0.0;
        r.level[l] = r.here[l] = 0;
      }
      for (index begin = 0; begin < free; begin += chunk) {
        const index width = free - begin < chunk ? free - begin : chunk;
        fill_tile(key, counter_tag(purpose::counts, 0), stream, m, static_cast<std::uint32_t>(begin), width, words,
                  together);
        for (index f = 0; f < 4 * width; ++f)
          for (index l = m; l % 8 != 0; ++l) words[f * together + l] = 0;
        index drawn[together][chunk];  // whole lines are written at once
        for (index i = 0; i < width; ++i) {
          if (alike)
            std::fill_n(r.here, m, levels[0][begin + i]);
          else
            for (index l = 0; l < m; ++l) r.here[l] = levels[l][begin + i];
          const auto c = static_cast<std::uint32_t>(begin + i);
          if (m <= counts::few)
            counts::draw_few(r, m, words + 4 * i * together, together, key, row, c);
          else
            counts::draw(r, m, alike, words + 4 * i * together, together, key, row, c);
          for (index l = 0; l < m; ++l) drawn[l][i] = r.count[l];
        }
        for (index l = 0; l < m; ++l)
          for (index i = 0; i < width; ++i) out[(a + l) * n_columns + begin + i] = drawn[l][i];
      }
      for (index l = 0; l < m; ++l) out[(a + l) * n_columns + free] = static_cast<index>(r.first.trials[l]);
    }
  });
}

}  // namespace tallydraw::TALLYDRAW_ISA
