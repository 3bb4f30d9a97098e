// The upward pass of messages.hpp for several rows at once, a lane each: sum-product of one class after the other, where every context is
// at most one feature, and numbers are plain. What takes no part in a row is multiplied by one, or added as a zero, so
// that each row has the numbers that it has alone, by the same operations. The cost does not depend on how many cells
// are missing: worth it where many are (log_prob_tree.hpp).
#pragma once

#include <algorithm>
#include <cstdint>

#include "tallydraw/attributes.hpp"
#include "tallydraw/doubles.hpp"
#include "tallydraw/messages.hpp"
#include "tallydraw/messages_by_class.hpp"
#include "tallydraw/tree_columns.hpp"

namespace tallydraw::TALLYDRAW_ISA {

constexpr int rows_sent = 16;  // at once: more hide the latency of their sums, until messages leave the first cache
constexpr index most_row_categories = 16, most_row_classes = 4;

/// What the pass tells of a block of rows, and needs. Bits are of rows: bit r % 64 of word r / 64.
struct row_totals {
  double* totals;          // [classes][d][rows]
  std::uint64_t* tops;     // [d][strips]: where the total of feature j is a factor of the row
  std::uint64_t* outside;  // [strips]: rows for which plain numbers do not suffice
  std::uint64_t* seen;     // [d][most C]: rows of a strip whose cell may have this code
  double* below;           // [entries][lanes]: b_j
  std::uint16_t* loud;     // [d]: lanes that a message has come to
};

/// What the features of rows_sent rows send and tell, the last ones first: the q-th so many of a strip. N categories of
/// every feature, 0: as many as there are. Under class c. Returns the lanes for which plain numbers do not suffice.
template <int N, class U>
TALLYDRAW_APART inline std::uint32_t total_rows(const encoder& e, const scored_tables& tables, const code_columns<U>& z,
                                                index strip, index q, index c, index most, const message_state& m,
                                                const row_totals& t) {
  using lanes = doubles<rows_sent>;
  using bits = std::uint16_t;
  static_assert(rows_sent == 8 * sizeof(bits));
  // Copies may alias whatever is behind a reference.
  const index d = e.s.d, k = e.s.n_classes, strips = z.strips, rows = z.rows;
  const index *const order = e.s.order, *const parents = e.parent, *const n_categories = e.s.n_categories;
  const index *const begin = m.begin, *const offsets = tables.offsets;
  const double* const cells = tables.cells + c;
  const std::uint64_t *const all_gone = z.gone + strip, *const seen = t.seen;
  double *const below = t.below, *const totals = t.totals + c * d * rows + 64 * strip + rows_sent * q;
  std::uint64_t* const tops = t.tops + strip;
  bits* const loud = t.loud;
  const auto lanes_of = [q](std::uint64_t word) { return static_cast<bits>(word >> (rows_sent * q)); };

  lanes one;
  one.fill(1.0);
  std::fill_n(below, rows_sent * begin[d], 1.0);
  std::fill_n(loud, d, bits{0});
  range_check<rows_sent> outside;
  for (index i = d - 1; i >= 0; --i) {
    const index j = order[i], parent = parents[j];
    const bits gone = lanes_of(all_gone[j * strips]), heard = loud[j];
    const bits under = parent == j ? bits{0} : lanes_of(all_gone[parent * strips]);
    const bits sent = under & static_cast<bits>(heard | ~gone), top = gone & heard & static_cast<bits>(~under);
    if (!(sent | top)) continue;
    const index n = N > 0 ? N : n_categories[j], n_parent = parent == j ? 1 : N > 0 ? N : n_categories[parent];
    const double *const theta = cells + offsets[j], *const b = below + rows_sent * begin[j];
    const bool has_children = begin[j] < begin[j + 1];
    lanes terms[N > 0 ? N : most_row_categories];
    for (index x = 0; x < n; ++x) {
      terms[x] = one;
      if (has_children) terms[x].load(b + rows_sent * x);
      terms[x].keep(lanes_of(seen[j * most + x]));
    }
    double* const above = below + rows_sent * begin[parent];
    lanes found = one;
    for (index a = 0; a < n_parent; ++a) {
      lanes sum = terms[0];
      sum.multiply(theta[a * k]);
      for (index x = 1; x < n; ++x) {  // left to right
        lanes term = terms[x];
        term.multiply(theta[(x * n_parent + a) * k]);
        sum.add(term);
      }
      if (parent == j) {
        found = sum;
        break;
      }
      found.take(lanes_of(seen[parent * most + a]), sum);
      lanes message = one;
      message.take(sent, sum);
      message.multiply(above + rows_sent * a);
      message.store(above + rows_sent * a);
      outside.look_at(message);
    }
    found.store(totals + j * rows);
    tops[j * strips] |= static_cast<std::uint64_t>(top) << (rows_sent * q);
    loud[parent] |= sent;
  }
  return outside.lanes();
}

/// All totals of the rows of a strip.
template <class U>
inline void total_strip(const encoder& e, const scored_tables& tables, const code_columns<U>& z, index strip,
                        index most, const message_state& m, const row_totals& t) {
  const structure_view& s = e.s;
  const index rows = std::min<index>(64, z.rows - 64 * strip);
  bool same = true;
  for (index j = 0; j < s.d; ++j) {
    const std::uint64_t gone = z.gone[j * z.strips + strip];
    for (index x = 0; x < s.n_categories[j]; ++x)
      t.seen[j * most + x] = gone | bits_where(z.x + j * z.rows + 64 * strip, rows, static_cast<U>(x));
    t.tops[j * z.strips + strip] = 0;
    same &= s.n_categories[j] == s.n_categories[0];
  }
  const auto total = [&] {
    switch (same ? s.n_categories[0] : 0) {
      case 2: return total_rows<2, U>;
      case 3: return total_rows<3, U>;
      case 4: return total_rows<4, U>;
      case 5: return total_rows<5, U>;
      case 6: return total_rows<6, U>;
      case 7: return total_rows<7, U>;
      case 8: return total_rows<8, U>;
      default: return total_rows<0, U>;
    }
  }();
  t.outside[strip] = 0;
  for (index q = 0; q < rows / rows_sent; ++q)
    for (index c = 0; c < s.n_classes; ++c)
      t.outside[strip] |= static_cast<std::uint64_t>(total(e, tables, z, strip, q, c, most, m, t)) << (rows_sent * q);
}

}  // namespace tallydraw::TALLYDRAW_ISA
