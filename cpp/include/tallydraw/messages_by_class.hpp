// messages.hpp where it is asked for most, in sum-product: every context at most one feature, plain numbers, and as
// many classes at once as lie in a vector. The same numbers by the same operations.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "tallydraw/doubles.hpp"
#include "tallydraw/messages.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// Most classes at once.
constexpr index most_classes = 8;

/// The largest W of 8, 4, 2, 1 that is not above n.
inline index classes_at_once(index n) { return n >= 8 ? 8 : n >= 4 ? 4 : n >= 2 ? 2 : 1; }

/// f(std::integral_constant<int, W>{}) for W classes at once.
template <class F>
inline void with_classes(index w, F&& f) {
  switch (w) {
    case 8: f(std::integral_constant<int, 8>{}); break;
    case 4: f(std::integral_constant<int, 4>{}); break;
    case 2: f(std::integral_constant<int, 2>{}); break;
    default: f(std::integral_constant<int, 1>{}); break;
  }
}

/// f of N as a type: the number of categories of every feature, 0 where they differ or are more than eight.
template <class F>
inline auto with_categories(const structure_view& s, F&& f) {
  const index n = s.n_categories[0];
  const bool same = std::all_of(s.n_categories, s.n_categories + s.d, [=](index other) { return other == n; });
  switch (same ? n : 0) {
    case 2: return f(std::integral_constant<int, 2>{});
    case 3: return f(std::integral_constant<int, 3>{});
    case 4: return f(std::integral_constant<int, 4>{});
    case 5: return f(std::integral_constant<int, 5>{});
    case 6: return f(std::integral_constant<int, 6>{});
    case 7: return f(std::integral_constant<int, 7>{});
    case 8: return f(std::integral_constant<int, 8>{});
    default: return f(std::integral_constant<int, 0>{});
  }
}

/// The top bit is set where 0 < v < least_plain; v is not negative.
inline std::uint64_t out_of_range(double v) noexcept {
  const std::uint64_t u = bits_of(v);
  return (u - bits_of(least_plain)) & (0 - u);
}

/// Whether any of the numbers that it was shown is out of range.
template <int W>
struct range_check {
#if defined(__GNUC__)
  typedef std::uint64_t words __attribute__((vector_size(sizeof(typename doubles<W>::lanes))));
  words met[doubles<W>::parts] = {};

  void look_at(const doubles<W>& v) noexcept {
    for (int i = 0; i < doubles<W>::parts; ++i) {
      const words u = reinterpret_cast<words>(v.value[i]);
      met[i] |= (u - bits_of(least_plain)) & (words{} - u);
    }
  }
#else
  std::uint64_t met[W] = {};

  void look_at(const doubles<W>& v) noexcept {
    double some[W];
    v.store(some);
    for (int i = 0; i < W; ++i) met[i] |= out_of_range(some[i]);
  }
#endif
  bool any() const noexcept {
    std::uint64_t some[W], all = 0;
    std::memcpy(some, met, sizeof some);
    for (int i = 0; i < W; ++i) all |= some[i];
    return all >> 63 != 0;
  }
  /// Bit i: of lane i.
  std::uint32_t lanes() const noexcept {
    std::uint64_t some[W];
    std::uint32_t set = 0;
    std::memcpy(some, met, sizeof some);
    for (int i = 0; i < W; ++i) set |= static_cast<std::uint32_t>(some[i] >> 63) << i;
    return set;
  }
};

template <>
struct range_check<1> {
  std::uint64_t met = 0;

  void look_at(doubles<1> v) noexcept { met |= out_of_range(v.value); }
  bool any() const noexcept { return met >> 63 != 0; }
};

/// to[a * W + w] = theta[a * stride + w] for a < rows.
template <int W>
inline void copy_classes(const double* theta, index stride, index rows, double* to) noexcept {
  if (stride == W)
    std::memcpy(to, theta, static_cast<std::size_t>(rows * W) * sizeof *to);
  else
    for (index a = 0; a < rows; ++a) std::memcpy(to + a * W, theta + a * stride, W * sizeof *to);
}

/// R rows of sums_by_class.
template <int W, int R>
inline void some_sums_by_class(const double* theta, index step, index stride, const double* b, index n,
                               double* to) noexcept {
  doubles<W> sum[R] = {};
  for (index x = 0; x < n; ++x)
    for (int a = 0; a < R; ++a) {
      doubles<W> term;
      term.load(theta + x * step + a * stride);
      term.multiply(b + x * W);
      sum[a].add(term);
    }
  for (int a = 0; a < R; ++a) sum[a].store(to + a * W);
}

/// to[a * W + w] = sum over x < n, left to right, of theta[x * step + a * stride + w] b[x * W + w], for a < rows: some
/// rows at once, so that no sum waits for itself; at the end some of them again.
template <int W>
inline void sums_by_class(const double* theta, index step, index stride, const double* b, index n, index rows,
                          double* to) noexcept {
  if (W == 1 && stride == 1 && rows >= most_classes) {  // table rows lie side by side
    for (index a = 0; a < rows; a += most_classes) {
      const index a0 = rows - a < most_classes ? rows - most_classes : a;
      doubles<most_classes> sum = {};
      for (index x = 0; x < n; ++x) {
        doubles<most_classes> term;
        term.load(theta + x * step + a0);
        term.multiply(b[x]);
        sum.add(term);
      }
      sum.store(to + a0);
    }
    return;
  }
  constexpr int together = W > 2 * wide_lanes ? 2 : 4;  // their sums stay in registers
  if (rows < together) {
    for (index a = 0; a < rows; ++a) some_sums_by_class<W, 1>(theta + a * stride, step, stride, b, n, to + a * W);
    return;
  }
  for (index a = 0; a < rows; a += together) {
    const index a0 = rows - a < together ? rows - together : a;
    some_sums_by_class<W, together>(theta + a0 * stride, step, stride, b, n, to + a0 * W);
  }
}

/// As send_messages, of W classes: `cells` are the probabilities of the first of them, positive ones at least
/// least_plain, table rows and then classes innermost, feature j from offsets[j] on, with `stride` classes in all;
/// `below` has room for W numbers an entry, `message` for W a category. top(j, values) is given W values.
template <int W, class U, class Top>
inline bool send_by_class(const encoder& e, const U* x, const double* cells, const index* offsets, index stride,
                          const message_state& m, double* below, double* message, Top&& top) {
  // Copies may alias whatever is behind a reference.
  const index* const n_categories = e.s.n_categories;
  const index* const begin = m.begin;
  const index* const touched = m.touched;
  const index* const parents = e.contexts ? e.parent : nullptr;
  bool* const loud = m.loud;
  const index n_touched = m.n_touched;
  const U* const slot = static_cast<const U*>(e.slot);
  for (index i = 0; i < n_touched; ++i) loud[touched[i]] = false;
  for (index i = n_touched - 1; i >= 0; --i) {
    const index j = touched[i];
    const bool missing = x[j] == slot[j];
    if (missing && !loud[j]) continue;  // silent
    const index n = n_categories[j];
    const double* const theta = cells + offsets[j];
    const double* const b = below + begin[j] * W;
    const index parent = parents ? parents[j] : j;  // itself where it has none
    const index rows = parent == j ? 1 : n_categories[parent];
    const index step = rows * stride;
    if (parent == j || x[parent] != slot[parent]) {
      double sum[W];
      const index a = parent == j ? 0 : static_cast<index>(x[parent]);
      sums_by_class<W>(theta + a * stride, step, stride, b, n, 1, sum);
      top(j, sum);
      continue;
    }
    double* const above = below + begin[parent] * W;
    const double* const seen = theta + static_cast<index>(x[j]) * step;  // of an observed j: in range, as all are
    if (!missing && !loud[parent]) {
      copy_classes<W>(seen, stride, rows, above);
      loud[parent] = true;
      continue;
    }
    double* const sent = loud[parent] ? message : above;
    if (missing)
      sums_by_class<W>(theta, step, stride, b, n, rows, sent);
    else if (stride != W)
      copy_classes<W>(seen, stride, rows, sent);
    const double* const factor = missing || stride != W ? sent : seen;
    std::uint64_t outside = 0;
    if (missing)
      for (index i_sent = 0; i_sent < rows * W; ++i_sent) outside |= out_of_range(sent[i_sent]);
    if (loud[parent])
      for (index i_sent = 0; i_sent < rows * W; ++i_sent) {
        above[i_sent] = above[i_sent] * factor[i_sent];
        outside |= out_of_range(above[i_sent]);
      }
    if (outside >> 63) return false;
    loud[parent] = true;
  }
  return true;
}

}  // namespace tallydraw::TALLYDRAW_ISA
