// p(x_j | what is seen of the row), for every feature: 1 at an observed cell; at a missing one the sum over the
// classes, in their order, of weights[r][k] times the beliefs of beliefs.hpp, in their order. Classes of weight zero
// are left out.
#pragma once

#include <cstdint>

#include "tallydraw/beliefs.hpp"
#include "tallydraw/codes.hpp"
#include "tallydraw/parallel.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// Scratch of marginals_features in words of 64 bits.
inline index marginals_features_part(const structure_view& s) {
  return message_words(s) + belief_words(s) + s.d + 2 * rows_together(s.d) * s.d;
}
inline index marginals_features_scratch(const structure_view& s, int threads) {
  return encoder_bytes(s.d) / 8 + threads * marginals_features_part(s);
}

/// out (n, sum of C_j), features side by side. Codes are checked already; `plain`: every positive probability is at
/// least 2^-500. scratch: marginals_features_scratch words.
inline void marginals_features(const codes_view& x, const code_rules& rules, const structure_view& s,
                               const double* probabilities, bool plain, const double* weights, double* out,
                               void* scratch, int threads) {
  const index d = s.d, k = s.n_classes;
  const encoder e = make_encoder(x, rules, s, scratch);
  std::uint64_t* const parts = static_cast<std::uint64_t*>(scratch) + encoder_bytes(d) / 8;
  const index part = marginals_features_part(s);
  const index together = rows_together(d);
  index columns = 0;
  for (index j = 0; j < d; ++j) columns += s.n_categories[j];
  visit_unsigned(e.tile, [&](auto u) {
    using U = decltype(u);
    parallel_blocks(x.n, together, threads, [&](index begin, index end, int thread) {
      std::uint64_t* own = parts + thread * part;
      message_state m = make_message_state(s, own);
      double* const beliefs = reinterpret_cast<double*>(own + message_words(s));
      index* const place = reinterpret_cast<index*>(own + message_words(s) + belief_words(s));
      U* const plain_codes = reinterpret_cast<U*>(place + d);
      U* const combined = reinterpret_cast<U*>(place + d + together * d);
      for (index j = 0, at = 0; j < d; at += s.n_categories[j++]) place[j] = at;
      encode(e, begin, end, 0, d, combined, plain_codes);
      for (index r = begin; r < end; ++r) {
        const coded_row<U> row{(e.contexts ? plain_codes : combined) + (r - begin) * d, combined + (r - begin) * d};
        double* const to = out + r * columns;
        for (index i = 0; i < columns; ++i) to[i] = 0.0;
        find_touched(e, row, m);
        for (index j = 0; j < d; ++j)
          if (!e.slots || !is_missing(e, row.x, j)) to[place[j] + static_cast<index>(row.x[j])] = 1.0;
        for (index c = 0; c < k && m.n_touched > 0; ++c) {
          const double weight = weights[r * k + c];
          if (weight == 0.0) continue;
          pass_both_ways(e, row.x, probabilities, plain, c, m, beliefs, [&](index j, index z, double belief) {
            if (is_missing(e, row.x, j)) to[place[j] + z % s.n_categories[j]] += weight * belief;
          });
        }
      }
    });
  });
}

}  // namespace tallydraw::TALLYDRAW_ISA
