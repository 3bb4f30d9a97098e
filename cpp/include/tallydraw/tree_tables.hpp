// The tables of a tree from those of all pairs of features.
#pragma once

#include <algorithm>
#include <cstdint>

#include "tallydraw/count_pairs.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// Scratch that tree_tables needs, in words of 64 bits.
inline index tree_tables_scratch(index d) { return 2 * d; }

/// The order of a structure, by the rule that Structure of python/tallydraw/_structure.py states.
inline void order_features(const index* parents, index d, index* order, index* scratch) {
  bool in_order = true;
  for (index j = 0; j < d; ++j) {
    order[j] = j;
    in_order = in_order && parents[j] < j;
  }
  if (in_order) return;
  index *const first = scratch, *const next = first + d;  // child, and sibling, or -1
  index n = 0;
  for (index j = 0; j < d; ++j) {
    first[j] = -1;
    if (parents[j] < 0) order[n++] = j;
  }
  for (index j = d - 1; j >= 0; --j) {
    if (parents[j] < 0) continue;
    next[j] = first[parents[j]];
    first[parents[j]] = j;
  }
  for (index at = 0; at < n; ++at)
    for (index j = first[order[at]]; j >= 0; j = next[j]) order[n++] = j;
}

/// Writes the structure of a tree of features, whose parents have no cycle, and its tables: `pairs`, whose places are as
/// in count_pairs.hpp, and `marginals`, of structure `s` of roots, hold numbers of any type of 64 bits.
inline void tree_tables(const structure_view& s, const index* pair_begins, const std::uint64_t* pairs,
                        const std::uint64_t* marginals, const index* parents, const tree_view& tree,
                        std::uint64_t* tables, void* scratch) {
  const pair_places places = make_places(s, pair_begins);
  order_features(parents, s.d, tree.order, static_cast<index*>(scratch));
  index contexts = 0, at = 0;
  for (index j = 0; j < s.d; ++j) {
    const index parent = parents[j], c = s.n_categories[j], rows = parent < 0 ? 1 : s.n_categories[parent];
    tree.context_begin[j] = contexts;
    tree.n_contexts[j] = rows;
    tree.offsets[j] = at;
    std::uint64_t* to = tables + at;
    at += s.n_classes * rows * c;
    if (parent < 0) {
      std::copy_n(marginals + s.offsets[j], s.n_classes * c, to);
      continue;
    }
    tree.context[contexts++] = parent;
    if (parent < j) {
      std::copy_n(pairs + places.of(parent, j), s.n_classes * rows * c, to);
      continue;
    }
    const std::uint64_t* from = pairs + places.of(j, parent);  // [K, C_j, C_parent]
    for (index k = 0; k < s.n_classes; ++k, from += rows * c, to += rows * c)
      for (index a = 0; a < rows; ++a)
        for (index b = 0; b < c; ++b) to[a * c + b] = from[b * rows + a];
  }
  tree.context_begin[s.d] = contexts;
  tree.offsets[s.d] = at;
}

}  // namespace tallydraw::TALLYDRAW_ISA
