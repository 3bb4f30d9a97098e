// The maximum spanning forest of a dense graph: Prim (1957), "Shortest connection networks and some generalizations".
#pragma once

#include <cstdint>

#include "tallydraw/elementary.hpp"
#include "tallydraw/pair_codes.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// Scratch that spanning_forest needs, in words of 64 bits.
inline index spanning_forest_scratch(index d) { return 3 * d; }

/// Parents, -1 of a root, of the forest of the greatest gains: gain[p] is that of pair p of the i < j < d in
/// lexicographic order, -inf of one that is no arc. Of arcs of equal gain the first pair is taken: so there is one
/// forest, whatever the order of the work. The tree with `root` is rooted there, each other one at its least vertex.
inline void spanning_forest(const double* gain, index d, index root, index* parents, void* scratch) {
  const double none = -double_of(elementary::infinity_bits);
  // Of each vertex outside, in any order: the best arc from the forest, which is to its parent so far, and its gain.
  auto* const outside = static_cast<index*>(scratch);
  index* const arc = outside + d;
  auto* const best = reinterpret_cast<double*>(arc + d);
  index n = 0;
  for (index u = 0; u < d; ++u) {
    parents[u] = -1;
    if (u == root) continue;
    outside[n] = u;
    arc[n] = -1;
    best[n++] = none;
  }
  for (index v = root; n > 0;) {
    index next = 0;
    for (index i = 0; i < n; ++i) {
      const index u = outside[i];
      const index p = u < v ? pair_of(u, v, d) : pair_of(v, u, d);
      if (gain[p] > best[i] || (gain[p] == best[i] && p < arc[i])) {
        best[i] = gain[p];
        arc[i] = p;
        parents[u] = v;
      }
      if (best[i] > best[next] || (best[i] == best[next] && (arc[i] >= 0 ? arc[i] < arc[next] : u < outside[next])))
        next = i;
    }
    v = outside[next];
    --n;
    outside[next] = outside[n];
    arc[next] = arc[n];
    best[next] = best[n];
  }
}

}  // namespace tallydraw::TALLYDRAW_ISA
