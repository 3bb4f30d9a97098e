// Mutual information of all pairs of features, KL(p(a, b, y), p(a, y) p(b, y) / p(y)), from their contingency tables.
// Tables of one shape are taken side by side, a lane a pair, so that a sum over cells is a sum of vectors; every sum
// runs over the cells from left to right. Most pairs of most data are so nearly independent that no cell needs a
// logarithm (divergence_terms in elementary.hpp, whose bits these are); where one cell of the lanes does, all get it.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "tallydraw/elementary.hpp"
#include "tallydraw/pair_codes.hpp"
#include "tallydraw/parallel.hpp"

namespace tallydraw::TALLYDRAW_ISA {

constexpr index pair_lanes = 8;
constexpr index lane_cells = 1 << 12;  // tables of more cells are taken one by one, in less scratch

/// Where the parts of a thread's scratch begin, in words, for tables of K x A x B cells side by side in L lanes.
struct information_scratch {
  index p, q, log_q, terms;   // [K, A, B, L]
  index a, b, classes, logs;  // [K, A, L], [K, B, L], [K, L], and the logs of these three
  index words;
};

inline information_scratch lay_out_information(index k, index ci, index cj, index lanes) {
  const index cells = k * ci * cj * lanes, sides = k * (ci + cj + 1) * lanes;
  information_scratch at{};
  at.q = cells;
  at.log_q = 2 * cells;
  at.terms = 3 * cells;
  at.a = 4 * cells;
  at.b = at.a + k * ci * lanes;
  at.classes = at.b + k * cj * lanes;
  at.logs = at.a + sides;
  at.words = at.logs + sides;
  return at;
}

inline index lanes_of(index cells) { return cells <= lane_cells ? pair_lanes : 1; }

/// Scratch of a thread, in words: enough for any two features.
inline index pair_information_words(const structure_view& s) {
  index first = 1, second = 1;  // the largest numbers of categories
  for (index j = 0; j < s.d; ++j) {
    const index c = s.n_categories[j];
    second = c > first ? first : c > second ? c : second;
    first = c > first ? c : first;
  }
  const index cells = s.n_classes * first * second;
  const index widest = lay_out_information(s.n_classes, first, second, lanes_of(cells)).words;
  // Of those side by side: K (A + B + 1) is at most 3 K A B.
  const index side_by_side = 10 * (cells < lane_cells ? cells : lane_cells) * pair_lanes;
  return widest > side_by_side ? widest : side_by_side;
}

/// Scratch that pair_information needs, in words of 64 bits.
inline index pair_information_scratch(const structure_view& s, int threads) {
  return threads * pair_information_words(s);
}

/// The terms of divergence_terms where no cell needs a logarithm; false where one does, and then `out` is unspecified.
inline bool near_divergence_terms(const double* p, const double* q, index n, double* out) {
  using namespace elementary;
  std::uint64_t far = 0;
  for (index i = 0; i < n; ++i) {
    const double t = (p[i] - q[i]) / q[i];
    const std::uint64_t near = is_near_one(t);  // not where q = 0
    const double series = near_divergence(double_of(bits_of(t) & near));
    out[i] = q[i] * double_of((bits_of(series) & near) | (bits_of(1.0) & ~near));  // p = 0 leaves q
    far |= bits_of(p[i]) & ~near;
  }
  return far == 0;
}

/// out[i] = log x[i], 0 for what passes one by rounding.
inline void log_probabilities(const double* x, index n, double* out) {
  log(x, n, out);
  for (index i = 0; i < n; ++i) out[i] = elementary::select(out[i] < 0.0, out[i], 0.0);
}

/// L tables of k x ci x cj counts, numbers that may be constants: `seen` gets their sums, `information` that of the
/// counts with `more` in each cell.
template <index L, class Count, class Classes, class Categories>
inline void inform(const Count* const (&table)[L], const double (&more)[L], Classes k, Categories ci, Categories cj,
                   double* scratch, double (&seen)[L], double (&information)[L]) {
  const information_scratch at = lay_out_information(k, ci, cj, L);
  const index cells = k * ci * cj;
  double *const p = scratch + at.p, *const q = scratch + at.q, *const log_q = scratch + at.log_q;
  double *const a = scratch + at.a, *const b = scratch + at.b, *const classes = scratch + at.classes;
  const auto store = [](double* to, const double (&x)[L]) { std::memcpy(to, x, sizeof x); };

  // Probabilities; zeros where nothing was seen.
  double total[L] = {}, plain[L] = {};
  for (index c = 0; c < cells; ++c) {
    double x[L];
    for (index l = 0; l < L; ++l) x[l] = static_cast<double>(table[l][c]);
    for (index l = 0; l < L; ++l) plain[l] += x[l];
    for (index l = 0; l < L; ++l) x[l] += more[l];
    for (index l = 0; l < L; ++l) total[l] += x[l];
    store(p + c * L, x);
  }
  for (index l = 0; l < L; ++l) seen[l] = plain[l];
  for (index l = 0; l < L; ++l) total[l] = elementary::select(total[l] > 0.0, total[l], 1.0);
  for (index c = 0; c < cells; ++c)
    for (index l = 0; l < L; ++l) p[c * L + l] /= total[l];

  // Their sums over b, over a, and over both.
  const auto sum = [&](const double* from, index n, index stride, double* to) {
    double x[L] = {};
    for (index i = 0; i < n; ++i)
      for (index l = 0; l < L; ++l) x[l] += from[i * stride * L + l];
    store(to, x);
  };
  for (index i = 0; i < k * ci; ++i) sum(p + i * cj * L, cj, 1, a + i * L);
  for (index y = 0; y < k; ++y) {
    for (index j = 0; j < cj; ++j) sum(p + (y * ci * cj + j) * L, ci, cj, b + (y * cj + j) * L);
    sum(a + y * ci * L, ci, 1, classes + y * L);
  }

  // What independence would make of them.
  const auto each_cell = [&](auto&& f) {
    for (index y = 0; y < k; ++y)
      for (index i = 0; i < ci; ++i)
        for (index j = 0; j < cj; ++j) f(((y * ci + i) * cj + j) * L, (y * ci + i) * L, (y * cj + j) * L, y * L);
  };
  each_cell([&](index cell, index i, index j, index y) {
    double x[L];
    for (index l = 0; l < L; ++l) x[l] = a[i + l] * b[j + l];
    if (k > 1)
      for (index l = 0; l < L; ++l) x[l] /= elementary::select(classes[y + l] > 0.0, classes[y + l], 1.0);
    store(q + cell, x);
  });

  double* const terms = scratch + at.terms;
  if (!near_divergence_terms(p, q, cells * L, terms)) {
    const double *const log_a = scratch + at.logs, *const log_b = log_a + (b - a), *const log_y = log_a + (classes - a);
    log_probabilities(a, (k > 1 ? at.logs : at.classes) - at.a, scratch + at.logs);
    each_cell([&](index cell, index i, index j, index y) {
      double x[L];
      for (index l = 0; l < L; ++l) x[l] = log_a[i + l] + log_b[j + l];
      if (k > 1)
        for (index l = 0; l < L; ++l) x[l] = elementary::select(classes[y + l] > 0.0, x[l] - log_y[y + l], x[l]);
      store(log_q + cell, x);
    });
    divergence_terms(p, q, log_q, cells * L, terms);
  }
  double x[L] = {};
  for (index c = 0; c < cells; ++c)
    for (index l = 0; l < L; ++l) x[l] += terms[c * L + l];
  for (index l = 0; l < L; ++l) information[l] = x[l];
}

/// The pairs of feature i and the features j[0 … n), all of as many categories.
template <index L, class Count>
inline void inform_alike(const structure_view& s, const pair_places& places, const Count* counts,
                         const double* pseudocounts, index i, const index* j, index n, double* scratch,
                         double* information, double* seen) {
  for (index at = 0; at < n; at += L) {
    const Count* table[L];
    double more[L], together[L], shared[L];
    index pair[L];
    for (index l = 0; l < L; ++l) {
      const index other = j[at + l < n ? at + l : n - 1];  // lanes past the end do the last pair again
      pair[l] = pair_of(i, other, s.d);
      table[l] = counts + places.of(i, other);
      more[l] = pseudocounts[i] < pseudocounts[other] ? pseudocounts[i] : pseudocounts[other];
    }
    const index k = s.n_classes, ci = s.n_categories[i], cj = s.n_categories[j[at]];
    if (k == 1 && ci == 2 && cj == 2) {  // loops of known length
      constexpr std::integral_constant<index, 1> one{};
      constexpr std::integral_constant<index, 2> two{};
      inform<L>(table, more, one, two, two, scratch, together, shared);
    } else {
      inform<L>(table, more, k, ci, cj, scratch, together, shared);
    }
    for (index l = 0; l < L; ++l) {
      information[pair[l]] = together[l] > 0.0 ? shared[l] : -double_of(elementary::infinity_bits);
      if (seen) seen[pair[l]] = together[l];
    }
  }
}

/// The first m in [low, high) that `holds`, which then holds for all after it; or high.
template <class Holds>
inline index first_at(index low, index high, Holds&& holds) {
  while (low < high) {
    const index middle = low + (high - low) / 2;
    if (holds(middle))
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

/// The pairs i < j of features i in [first, last): information[p] = I(i; j), given the class where there are several,
/// of the counts with the lesser of the pseudocounts of i and j in each cell, or -inf where the counts are all zero;
/// seen[p], unless null, the sum of the counts. `s` is of roots, pairs as in count_pairs.hpp; `by_size` are the
/// features in ascending order of their numbers of categories, equal ones in their own. Threads take features.
template <class Count>
inline void pair_information_of(const structure_view& s, const pair_places& places, const Count* counts,
                                const index* by_size, const double* pseudocounts, index first, index last,
                                double* information, double* seen, double* scratch, int threads) {
  const index words = pair_information_words(s);
  parallel_blocks(last - first, 1, threads, [&](index task, index, int thread) {
    const index i = first + task;
    double* const lent = scratch + thread * words;
    for (index at = 0, end = 0; at < s.d; at = end) {
      const index c = s.n_categories[by_size[at]];
      end = first_at(at, s.d, [&](index m) { return s.n_categories[by_size[m]] > c; });
      const index begin = first_at(at, end, [&](index m) { return by_size[m] > i; });
      const auto inform_all = [&](auto lanes) {
        inform_alike<decltype(lanes)::value>(s, places, counts, pseudocounts, i, by_size + begin, end - begin, lent,
                                             information, seen);
      };
      if (lanes_of(s.n_classes * s.n_categories[i] * c) > 1)
        inform_all(std::integral_constant<index, pair_lanes>{});
      else
        inform_all(std::integral_constant<index, 1>{});
    }
  });
}

/// One of `floats` and `integers` is null.
inline void pair_information(const structure_view& s, const index* pair_begins, const double* floats,
                             const index* integers, const index* by_size, const double* pseudocounts, index first,
                             index last, double* information, double* seen, void* scratch, int threads) {
  auto* const lent = static_cast<double*>(scratch);
  const pair_places places = make_places(s, pair_begins);
  if (floats)
    pair_information_of(s, places, floats, by_size, pseudocounts, first, last, information, seen, lent, threads);
  else
    pair_information_of(s, places, integers, by_size, pseudocounts, first, last, information, seen, lent, threads);
}

}  // namespace tallydraw::TALLYDRAW_ISA
