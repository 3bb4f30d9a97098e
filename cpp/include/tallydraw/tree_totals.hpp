// Totals of missing cells that are not tabulated, where every context is at most one feature: made of the messages
// behind each, which touch nothing but what hangs together with it.
#pragma once

#include <cstdint>

#include "tallydraw/attributes.hpp"
#include "tallydraw/elementary.hpp"
#include "tallydraw/messages.hpp"
#include "tallydraw/messages_by_class.hpp"
#include "tallydraw/tree_columns.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// Lists what is touched behind a missing cell under an observed one, and lays out the codes there.
template <class U>
TALLYDRAW_APART inline void touch_behind(const encoder& e, children_view children, const code_columns<U>& z, index j,
                                         index r, U* row, message_state& m) {
  const U* const slot = static_cast<const U*>(e.slot);
  const auto lay_out = [&](index f) {
    const U v = z.x[f * z.rows + r];
    row[f] = v < slot[f] ? v : slot[f];
  };
  if (e.parent != nullptr) lay_out(e.parent[j]);
  lay_out(j);
  index n = 1;
  m.touched[0] = j;
  for (index i = 0; i < n; ++i) {
    const index f = m.touched[i];
    if (row[f] != slot[f]) continue;
    for (index at = children.begin[f]; at < children.begin[f + 1]; ++at) {
      lay_out(children.child[at]);
      m.touched[n++] = children.child[at];
    }
  }
  m.n_touched = n;
}

/// Totals made of messages, whose logs are still to be taken: values[t * K + class] 2^exponents[…] of row rows[t].
struct made_totals {
  double* values;
  index* exponents;
  double* terms;  // by classes: messages, and one more
  index* rows;
  index n;
  bool scaled;
};

/// Makes the total of the touched features of a row, or nothing where they are silent.
template <bool Max, class U>
TALLYDRAW_APART inline void make_total(const encoder& e, const U* row, const scored_tables& tables, index r,
                                       message_state& m, made_totals& made) {
  const index k = e.s.n_classes;
  double* const values = made.values + made.n * k;
  index* const exponents = made.exponents + made.n * k;
  bool loud = false;
  for (index c = 0, w = 0; c < k; c += w) {
    w = classes_at_once(k - c);
    bool done = false;
    if (!Max && tables.plain)
      with_classes(w, [&](auto width) {
        constexpr int W = decltype(width)::value;
        const auto top = [&](index, const double* sums) {
          loud = true;
          for (index i = 0; i < W; ++i) values[c + i] = sums[i];
          for (index i = 0; i < W; ++i) exponents[c + i] = 0;
        };
        done = send_by_class<W>(e, row, tables.cells + c, tables.offsets, k, m, made.terms,
                                made.terms + most_classes * m.begin[e.s.d], top);
      });
    for (index i = c; i < c + w && !done; ++i)
      send_messages<Max, scaled>(e, row, tables.probabilities, i, m, [&](index, scaled total) {
        loud = made.scaled = true;
        values[i] = total.m;
        exponents[i] = total.e;
      });
  }
  if (loud) made.rows[made.n++] = r;
}

/// make_total of feature j where all messages come from children that are observed: send_by_class, with fewer steps.
/// `theta` are the cells of the feature from its parent's code on, `step` those of a category of it. false where plain
/// numbers do not suffice.
template <class U>
inline bool make_near_total(const encoder& e, children_view children, const scored_tables& tables,
                            const code_columns<U>& z, index j, const double* theta, index step, index r,
                            made_totals& made) {
  const index n = e.s.n_categories[j], k = e.s.n_classes;
  const index each = n * k;
  bool good = true;
  for (index c = 0, w = 0; c < k && good; c += w) {
    w = classes_at_once(k - c);
    with_classes(w, [&](auto width) {
      constexpr int W = decltype(width)::value;
      range_check<W> outside;
      const double* b = nullptr;     // the product of all messages but the last
      const double* last = nullptr;  // multiplied where it is summed up
      index stride = k;
      const auto product = [&](index x) {
        doubles<W> v;
        v.load(b + x * stride);
        v.multiply(last + x * k);
        outside.look_at(v);
        return v;
      };
      for (index at = children.begin[j + 1] - 1; at >= children.begin[j]; --at) {
        const index child = children.child[at], v = static_cast<index>(z.x[child * z.rows + r]);
        if (v == e.s.n_categories[child]) continue;
        const double* const sent = tables.cells + tables.offsets[child] + v * each + c;
        if (b == nullptr) {
          b = sent;
          continue;
        }
        if (last != nullptr) {
          for (index x = 0; x < n; ++x) product(x).store(made.terms + x * W);
          b = made.terms;
          stride = W;
        }
        last = sent;
      }
      doubles<W> sum = {};
      for (index x = 0; x < n; ++x) {  // left to right
        doubles<W> term;
        if (last == nullptr)
          term.load(b + x * stride);
        else
          term = product(x);
        term.multiply(theta + x * step + c);
        sum.add(term);
      }
      sum.store(made.values + made.n * k + c);
      for (int i = 0; i < W; ++i) made.exponents[made.n * k + c + i] = 0;
      good = !outside.any();
    });
  }
  if (good) made.rows[made.n++] = r;
  return good;
}

}  // namespace tallydraw::TALLYDRAW_ISA
