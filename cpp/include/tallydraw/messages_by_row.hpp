// The upward pass of messages.hpp for several rows at once, a lane each, under one class: sum-product where every context
// is at most one feature, and numbers are plain. What takes no part in a row is multiplied by one, so that each row has
// the numbers that it has alone, by the same operations. The cost hardly depends on how many cells are missing.
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
constexpr index most_row_categories = 16;

using row_doubles = doubles<rows_sent>;
using row_bits = std::uint16_t;  // a bit a lane
static_assert(rows_sent == 8 * sizeof(row_bits));

/// Whether rows can be sent at once, if their codes are bytes and numbers plain. Without masks of vectors they are slower
/// than one by one (measured).
inline bool sent_by_row(const structure_view& s, const message_sizes& size) {
#if defined(TALLYDRAW_MASKED_DOUBLES)
  constexpr bool has_masks = true;
#else
  constexpr bool has_masks = false;
#endif
  return has_masks && one_parent(s) && size.entries > 0 && size.most_categories <= most_row_categories;
}

/// Where one class lies among probabilities with classes innermost.
struct class_lane {
  const double* cells;
  const index* offsets;
  index k;
  index c;
};

/// What the pass needs, of the rows of one strip of a block. Bits are of rows.
struct row_messages {
  std::uint64_t* seen;  // [d][most C]: where the cell may have this code
  double* below;        // [entries][lanes]: b_j
  row_bits* loud;       // [d]: lanes that a message has come to
  index most;           // C
};

/// Words that row_messages takes; room for it.
inline index row_messages_words(const structure_view& s, const message_sizes& size) {
  return s.d * size.most_categories + rows_sent * size.entries + (s.d + 3) / 4 + 8;
}
inline row_messages make_row_messages(const structure_view& s, const message_sizes& size, std::uint64_t* words) {
  std::uint64_t* const below = words + whole_lines(s.d * size.most_categories);
  return {words, reinterpret_cast<double*>(below), reinterpret_cast<row_bits*>(below + rows_sent * size.entries),
          size.most_categories};
}

/// Which cells of the rows of a strip may have which code.
template <class U>
inline void see_strip(const structure_view& s, const code_columns<U>& z, index strip, const row_messages& t) {
  const index rows = std::min<index>(64, z.rows - 64 * strip);
  for (index j = 0; j < s.d; ++j)
    for (index x = 0; x < s.n_categories[j]; ++x)
      t.seen[j * t.most + x] =
          z.gone[j * z.strips + strip] | bits_where(z.x + j * z.rows + 64 * strip, rows, static_cast<U>(x));
}

/// The bits of the q-th rows_sent rows of a strip.
inline row_bits bits_of_rows(std::uint64_t word, index q) { return static_cast<row_bits>(word >> (rows_sent * q)); }

/// The upward pass of the q-th rows of a strip, whose missing cells are gone[j * strips], under a class. top(j, lanes,
/// totals) is called where some lanes have a total. Returns the lanes for which plain numbers do not suffice.
template <int N, class Top>
inline std::uint32_t send_rows(const encoder& e, const class_lane& lane, const std::uint64_t* gone_bits, index strips,
                               index q, const message_state& m, const row_messages& t, Top&& top) {
  // Copies: what is stored may alias whatever is behind a reference.
  const index d = e.s.d, most = t.most, k = lane.k;
  const index *const order = e.s.order, *const parents = e.parent, *const n_categories = e.s.n_categories;
  const index* const begin = m.begin;
  const std::uint64_t* const seen = t.seen;
  double* const below = t.below;
  row_bits* const loud = t.loud;

  row_doubles one;
  one.fill(1.0);
  std::fill_n(below, rows_sent * begin[d], 1.0);
  std::fill_n(loud, d, row_bits{0});
  range_check<rows_sent> outside;
  for (index i = d - 1; i >= 0; --i) {
    const index j = order[i], parent = parents[j];
    const row_bits gone = bits_of_rows(gone_bits[j * strips], q), heard = loud[j];
    const row_bits under = parent == j ? row_bits{0} : bits_of_rows(gone_bits[parent * strips], q);
    const row_bits sent = under & static_cast<row_bits>(heard | ~gone);
    const row_bits total = gone & heard & static_cast<row_bits>(~under);
    if (!(sent | total)) continue;
    const index n = N > 0 ? N : n_categories[j], rows = parent == j ? 1 : N > 0 ? N : n_categories[parent];
    const double* const theta = lane.cells + lane.offsets[j] + lane.c;  // of x under a: at x rows + a
    const double* const b = below + rows_sent * begin[j];
    const bool has_children = begin[j] < begin[j + 1];
    row_doubles terms[N > 0 ? N : most_row_categories];
    for (index x = 0; x < n; ++x) {
      terms[x] = one;
      if (has_children) terms[x].load(b + rows_sent * x);
      terms[x].keep(bits_of_rows(seen[j * most + x], q));
    }
    double* const above = below + rows_sent * begin[parent];
    row_doubles found = one;
    for (index a = 0; a < rows; ++a) {
      row_doubles sum = terms[0];
      sum.multiply(theta[a * k]);
      for (index x = 1; x < n; ++x) {  // left to right
        row_doubles term = terms[x];
        term.multiply(theta[(x * rows + a) * k]);
        sum.add(term);
      }
      if (parent == j) {
        found = sum;
        break;
      }
      found.take(bits_of_rows(seen[parent * most + a], q), sum);
      row_doubles message = one;
      message.take(sent, sum);
      message.multiply(above + rows_sent * a);
      message.store(above + rows_sent * a);
      outside.look_at(message);
    }
    top(j, total, found);
    loud[parent] |= sent;
  }
  return outside.lanes();
}

}  // namespace tallydraw::TALLYDRAW_ISA
