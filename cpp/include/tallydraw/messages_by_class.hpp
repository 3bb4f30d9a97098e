// messages.hpp where it is asked for most, in sum-product: every context at most one feature, plain numbers, and as many
// classes at once as lie in a vector. The same numbers by the same operations.
#pragma once

#include <cstring>
#include <type_traits>

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

/// The top bit is set where 0 < v < least_plain; v is not negative.
inline std::uint64_t out_of_range(double v) noexcept {
  const std::uint64_t u = bits_of(v);
  return (u - bits_of(least_plain)) & (0 - u);
}

/// sum[w] = sum over x < n, left to right, of theta[x * stride + w] b[x * W + w].
template <int W>
inline void sums_by_class(const double* theta, index stride, const double* b, index n, double* sum) noexcept {
  double t[W] = {};
  for (index x = 0; x < n; ++x)
    for (int w = 0; w < W; ++w) t[w] += theta[x * stride + w] * b[x * W + w];
  std::memcpy(sum, t, sizeof t);
}

/// As send_messages, of W classes: `cells` are the probabilities of the first of them, laid out as logs, with `stride`
/// classes in all; `below` has room for W numbers an entry. top(j, values) is given W values.
template <int W, class U, class Top>
inline bool send_by_class(const encoder& e, const U* x, const double* cells, const index* offsets, index stride,
                          const message_state& m, double* below, Top&& top) {
  const structure_view& s = e.s;
  const U* const slot = static_cast<const U*>(e.slot);
  for (index i = 0; i < m.n_touched; ++i) m.loud[m.touched[i]] = false;
  for (index i = m.n_touched - 1; i >= 0; --i) {
    const index j = m.touched[i];
    const bool missing = x[j] == slot[j];
    if (missing && !m.loud[j]) continue;  // silent
    const index n = s.n_categories[j];
    const double* const theta = cells + offsets[j];
    const double* const b = below + m.begin[j] * W;
    const index parent = e.contexts ? e.parent[j] : j;  // itself where it has none
    if (parent == j || x[parent] != slot[parent]) {
      const index a = parent == j ? 0 : static_cast<index>(x[parent]);
      double sum[W];
      sums_by_class<W>(theta + a * n * stride, stride, b, n, sum);
      top(j, sum);
      continue;
    }
    double* const above = below + m.begin[parent] * W;
    const index rows = s.n_categories[parent];
    const bool further = m.loud[parent];
    std::uint64_t outside[W] = {};
    for (index a = 0; a < rows; ++a) {
      double t[W];
      if (missing) {
        sums_by_class<W>(theta + a * n * stride, stride, b, n, t);
      } else {
        const double* const from = theta + (a * n + static_cast<index>(x[j])) * stride;
        std::memcpy(t, from, sizeof t);
      }
      for (int w = 0; w < W; ++w) outside[w] |= out_of_range(t[w]);
      if (further) {
        for (int w = 0; w < W; ++w) t[w] = above[a * W + w] * t[w];
        for (int w = 0; w < W; ++w) outside[w] |= out_of_range(t[w]);
      }
      std::memcpy(above + a * W, t, sizeof t);
    }
    std::uint64_t any = 0;
    for (int w = 0; w < W; ++w) any |= outside[w];
    if (any >> 63) return false;
    m.loud[parent] = true;
  }
  return true;
}

}  // namespace tallydraw::TALLYDRAW_ISA
