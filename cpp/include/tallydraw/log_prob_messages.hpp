// log p(x) or log p(x | y) of rows with missing cells, on a tree: the missing cells are summed out exactly by the
// sum-product algorithm (Pearl 1982), in probability space, every entry of a message with its own exponent.
//
// An observed cell cuts the tree. For a missing cell j let b_j(x) be the product of the messages of its children, in the
// reverse of structure.order: theta(x_c | x) of an observed child c, sum_x' theta(x' | x) b_c(x') of a missing one. A
// missing cell with no observed cell below it is silent: its sum is one, it sends no message and adds nothing.
// What feature j adds to its row:
//   observed, its parent (if any) observed     log theta(x_j | x_parent)
//   observed, its parent missing               nothing: it is in the parent's message
//   missing, its parent (if any) observed      log sum_x theta(x | x_parent) b_j(x); nothing where silent
//   missing, its parent missing                nothing: likewise
// and the sum runs from first[k], left to right over the features.
#pragma once

#include "tallydraw/codes.hpp"
#include "tallydraw/parallel.hpp"
#include "tallydraw/scaled.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// Scratch of log_prob_messages in words of 64 bits.
inline index log_prob_messages_scratch(const structure_view& s, int threads) {
  index cells = 0;
  for (index j = 0; j < s.d; ++j) cells += s.n_categories[j];
  return encoder_bytes(s.d) / 8 + threads * (2 * cells + 5 * s.d + 1);
}

/// What one thread needs for one row.
struct row_messages {
  double* added;  // [d]
  scaled* below;  // [sum of C_j]: b_j from begin[j] on
  index* begin;   // [d + 1]
  bool* loud;     // [d]: some observed cell lies below this missing one
};

/// What every feature adds to one row of plain codes x and combined codes z, for class c; into m.added.
template <class U>
inline void messages_of_row(const encoder& e, const U* x, const U* z, const double* probabilities, const double* logs,
                            const index* log_offsets, index c, const row_messages& m) {
  const structure_view& s = e.s;
  const U* slot = static_cast<const U*>(e.slot);
  for (index j = 0; j < s.d; ++j) m.loud[j] = false;
  for (index i = s.d - 1; i >= 0; --i) {  // children before parents
    const index j = s.order[i];
    const index n = s.n_categories[j];
    const bool has_parent = s.context_begin[j + 1] > s.context_begin[j];
    const index parent = has_parent ? s.context[s.context_begin[j]] : -1;
    const bool missing = x[j] == slot[j];
    const bool parent_missing = has_parent && x[parent] == slot[parent];
    const double* theta = probabilities + s.offsets[j] + c * s.n_contexts[j] * n;
    const scaled* below = m.below + m.begin[j];
    m.added[j] = 0.0;
    if (missing && !m.loud[j]) continue;
    if (!parent_missing) {
      if (missing) {
        const index row = has_parent ? static_cast<index>(x[parent]) : 0;
        const scaled sum = sum_of_products(theta + row * n, 1, below, n);
        m.added[j] = log_scaled(sum.m, sum.e);
      } else {
        m.added[j] = logs[log_offsets[j] + static_cast<index>(z[j]) * s.n_classes + c];
      }
      continue;
    }
    scaled* above = m.below + m.begin[parent];
    for (index a = 0; a < s.n_categories[parent]; ++a) {
      const double* row = theta + a * n;
      const scaled message = missing ? sum_of_products(row, 1, below, n) : make_scaled(row[x[j]]);
      above[a] = m.loud[parent] ? above[a] * message : message;
    }
    m.loud[parent] = true;
  }
}

/// out[r] for r = rows[0] … rows[n_rows - 1] only, out (n, K). Codes are checked already; every context has at most one
/// feature. scratch: log_prob_messages_scratch words.
inline void log_prob_messages(const codes_view& x, const code_rules& rules, const structure_view& s,
                              const double* probabilities, const double* logs, const index* log_offsets,
                              const double* first, const index* rows, index n_rows, double* out, void* scratch,
                              int threads) {
  const index d = s.d;
  const encoder e = make_encoder(x, rules, s, scratch);
  index cells = 0;
  for (index j = 0; j < d; ++j) cells += s.n_categories[j];
  char* parts = static_cast<char*>(scratch) + encoder_bytes(d);
  const index part = 8 * log_prob_messages_scratch(s, 1) - encoder_bytes(d);
  visit_unsigned(e.tile, [&](auto u) {
    using U = decltype(u);
    parallel_blocks(n_rows, 16, threads, [&](index begin, index end, int thread) {
      char* own = parts + thread * part;
      row_messages m;
      m.below = reinterpret_cast<scaled*>(own);
      m.added = reinterpret_cast<double*>(own + 16 * cells);
      m.begin = reinterpret_cast<index*>(own + 16 * cells + 8 * d);
      U* combined = reinterpret_cast<U*>(own + 16 * cells + 16 * d + 8);
      U* plain = reinterpret_cast<U*>(own + 16 * cells + 24 * d + 8);
      m.loud = reinterpret_cast<bool*>(own + 16 * cells + 32 * d + 8);
      m.begin[0] = 0;
      for (index j = 0; j < d; ++j) m.begin[j + 1] = m.begin[j] + s.n_categories[j];
      for (index i = begin; i < end; ++i) {
        const index r = rows[i];
        encode(e, r, r + 1, 0, d, combined, plain);
        for (index c = 0; c < s.n_classes; ++c) {
          messages_of_row(e, e.contexts ? plain : combined, combined, probabilities, logs, log_offsets, c, m);
          double sum = first[c];
          for (index j = 0; j < d; ++j) sum += m.added[j];  // left to right
          out[r * s.n_classes + c] = sum;
        }
      }
    });
  });
}

}  // namespace tallydraw::TALLYDRAW_ISA
