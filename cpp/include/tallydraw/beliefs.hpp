// The downward pass after messages.hpp: p(context of j = a, x_j = x | what is seen of the row, class), contexts before
// their children. With P_j(a) the belief in table row a (1 where the context is observed),
//   x_j observed            P_j(a)
//   x_j missing, silent     P_j(a) theta(x | a)
//   x_j missing             P_j(a) (t_x / t), t_x = theta(x | a) b_j(a, x), t their sum from left to right
// and P of j's children adds these up over what their context drops of (a, x), a ascending.
#pragma once

#include "tallydraw/messages.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// Scratch of spread_beliefs in words of 64 bits.
inline index belief_words(const structure_view& s) { return sizes_of_messages(s).entries; }

/// tell(j, z, belief) for every combined code z of every touched feature that may have a positive belief, features in
/// structure.order, codes ascending. Messages are sent (sums) as numbers of type N. Nothing of an impossible row.
template <class N, class U, class Tell>
inline void spread_beliefs(const encoder& e, const U* x, const double* probabilities, index c, const message_state& m,
                           double* beliefs, Tell&& tell) {
  const structure_view& s = e.s;
  const N* const below = reinterpret_cast<const N*>(m.below);
  for (index i = 0; i < m.n_touched; ++i) {
    const index j = m.touched[i];
    const index n = s.n_categories[j];
    const bool missing = is_missing(e, x, j);
    const double* const theta = probabilities + s.offsets[j] + c * s.n_contexts[j] * n;
    const index width = m.begin[j + 1] - m.begin[j];
    double* const down = beliefs + m.begin[j];
    for (index w = 0; w < width; ++w) down[w] = 0.0;
    const bool known = known_context(e, x, j, m.rows);
    const index rows = known ? 1 : context_rows(e, x, j, m.rows);
    const double* const from = known ? nullptr : beliefs + m.begin[s.context[s.context_begin[j + 1] - 1]];
    for (index i_row = 0; i_row < rows; ++i_row) {
      const index a = m.rows[i_row];
      const double p = known ? 1.0 : from[a];
      if (p == 0.0) continue;
      const index w = width == 0 ? 0 : a * n % width;
      const auto spread = [&](index v, double belief) {
        if (width > 0) down[w + v] += belief;
        tell(j, a * n + v, belief);
      };
      if (!missing) {
        spread(static_cast<index>(x[j]), p);
        continue;
      }
      if (!m.loud[j]) {
        for (index v = 0; v < n; ++v) spread(v, p * theta[a * n + v]);
        continue;
      }
      const double* const t = products(theta + a * n, below + m.begin[j] + w, n, m.terms);
      double sum = 0.0;
      for (index v = 0; v < n; ++v) sum += t[v];
      if (sum == 0.0) continue;  // an impossible row
      for (index v = 0; v < n; ++v) spread(v, p * (t[v] / sum));
    }
  }
}

/// Both passes over the touched features of a row under class c.
template <class U, class Tell>
inline void pass_both_ways(const encoder& e, const U* x, const double* probabilities, bool plain, index c,
                           const message_state& m, double* beliefs, Tell&& tell) {
  const auto ignore = [](index, auto) {};
  if (plain && send_messages<false, double>(e, x, probabilities, c, m, ignore)) {
    spread_beliefs<double>(e, x, probabilities, c, m, beliefs, tell);
  } else {
    send_messages<false, scaled>(e, x, probabilities, c, m, ignore);
    spread_beliefs<scaled>(e, x, probabilities, c, m, beliefs, tell);
  }
}

}  // namespace tallydraw::TALLYDRAW_ISA
