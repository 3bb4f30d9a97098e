// Expected counts, the E-step of EM (Dempster, Laird & Rubin 1977): every row adds to the cells of every feature's
// table of class k its weight times p(context, x_j | what is seen of the row, class k): the whole weight to one cell
// where all is observed, what beliefs.hpp tells otherwise.
//
// Sums do not commute. Rows go in blocks of `block_rows`, whatever the number of threads: a block adds its rows in
// their order, features in structure.order, from 0.0; the blocks' sums are added to counts in their order.
#pragma once

#include <cstdint>

#include "tallydraw/beliefs.hpp"
#include "tallydraw/codes.hpp"
#include "tallydraw/parallel.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// Scratch of count_expected in words of 64 bits.
inline index count_expected_part(const structure_view& s) {
  return s.offsets[s.d] + message_words(s) + belief_words(s) + 2 * rows_together(s.d) * s.d;
}
inline index count_expected_scratch(const structure_view& s, int threads) {
  return encoder_bytes(s.d) / 8 + threads * count_expected_part(s);
}

/// sums, with classes innermost, of rows [begin, end).
template <class U>
inline void expect_block(const encoder& e, const double* probabilities, bool plain, const double* weights, index begin,
                         index end, double* sums, std::uint64_t* own) {
  const structure_view& s = e.s;
  const index d = s.d, k = s.n_classes;
  const index together = rows_together(d);
  message_state m = make_message_state(s, own);
  double* const beliefs = reinterpret_cast<double*>(own + message_words(s));
  U* const plain_codes = reinterpret_cast<U*>(own + message_words(s) + belief_words(s));
  U* const combined = reinterpret_cast<U*>(own + message_words(s) + belief_words(s) + together * d);
  const U* const whole = static_cast<const U*>(e.whole);
  for (index i = 0; i < s.offsets[d]; ++i) sums[i] = 0.0;
  for (index row0 = begin; row0 < end; row0 += together) {
    const index row1 = end - row0 < together ? end : row0 + together;
    const unsigned met = encode(e, row0, row1, 0, d, combined, plain_codes);
    for (index r = row0; r < row1; ++r) {
      const coded_row<U> row{(e.contexts ? plain_codes : combined) + (r - row0) * d, combined + (r - row0) * d};
      const double* const weight = weights + r * k;
      for (index j = 0; j < d; ++j) {
        if ((met & met_missing) && row.z[j] == whole[j]) continue;
        double* const to = sums + s.offsets[j] + static_cast<index>(row.z[j]) * k;
        for (index c = 0; c < k; ++c) to[c] += weight[c];
      }
      if (!(met & met_missing)) continue;
      find_touched(e, row, m);
      for (index c = 0; c < k && m.n_touched > 0; ++c) {
        if (weight[c] == 0.0) continue;
        pass_both_ways(e, row.x, probabilities, plain, c, m, beliefs,
                       [&](index j, index z, double belief) { sums[s.offsets[j] + z * k + c] += weight[c] * belief; });
      }
    }
  }
}

/// Adds to counts, laid out as the tables. Codes are checked already; weights (n, K) are non-negative; `plain`: every
/// positive probability is at least 2^-500. scratch: count_expected_scratch words.
inline void count_expected(const codes_view& x, const code_rules& rules, const structure_view& s,
                           const double* probabilities, bool plain, const double* weights, index block_rows,
                           double* counts, void* scratch, int threads) {
  const index d = s.d, k = s.n_classes;
  const encoder e = make_encoder(x, rules, s, scratch);
  std::uint64_t* const parts = static_cast<std::uint64_t*>(scratch) + encoder_bytes(d) / 8;
  const index part = count_expected_part(s);
  visit_unsigned(e.tile, [&](auto u) {
    using U = decltype(u);
    for (index row0 = 0; row0 < x.n; row0 += threads * block_rows) {  // a block a thread at a time
      const index row1 = x.n - row0 < threads * block_rows ? x.n : row0 + threads * block_rows;
      const auto sums_of = [&](index block) { return reinterpret_cast<double*>(parts + block * part); };
      parallel_blocks(row1 - row0, block_rows, threads, [&](index begin, index end, int) {
        double* const sums = sums_of(begin / block_rows);
        expect_block<U>(e, probabilities, plain, weights, row0 + begin, row0 + end, sums,
                        reinterpret_cast<std::uint64_t*>(sums + s.offsets[d]));
      });
      for (index block = 0; block * block_rows < row1 - row0; ++block) {
        const double* const sums = sums_of(block);
        for (index j = 0; j < d; ++j) {
          const index cells = s.n_contexts[j] * s.n_categories[j];
          for (index c = 0; c < k; ++c)
            for (index z = 0; z < cells; ++z) counts[s.offsets[j] + c * cells + z] += sums[s.offsets[j] + z * k + c];
        }
      }
    }
  });
}

}  // namespace tallydraw::TALLYDRAW_ISA
