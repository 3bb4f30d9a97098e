"""The maximum spanning forest of a dense graph."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def spanning_forest(gain: NDArray[np.float64], root: int = 0) -> NDArray[np.int64]:
    """(d,) parents of the maximum spanning forest of a symmetric (d, d) matrix, whose -inf are no arcs.

    Of arcs of equal gain the one that comes first, (i, j) with i < j in lexicographic order, is taken: so there is one
    forest, whatever the order of the work. The tree with `root` is rooted there, each other one at its least vertex.

    Prim (1957), "Shortest connection networks and some generalizations": O(d^2).
    """
    d = len(gain)
    vertices = np.arange(d)
    best = np.full(d, -np.inf)  # the best arc from the forest to each vertex
    parent = np.full(d, -1)
    arc = np.full(d, d * d)  # its place among all pairs
    outside = np.ones(d, np.bool_)
    v = root
    while True:
        outside[v] = False
        best[v] = -np.inf
        place = np.minimum(v, vertices) * d + np.maximum(v, vertices)
        better = outside & ((gain[v] > best) | ((gain[v] == best) & (place < arc) & (best > -np.inf)))
        best[better] = gain[v][better]
        arc[better] = place[better]
        parent[better] = v
        most = best.max(initial=-np.inf)
        if most > -np.inf:
            equal = np.flatnonzero(best == most)
            v = int(equal[arc[equal].argmin()])
        elif outside.any():
            v = int(outside.argmax())
        else:
            return parent.astype(np.int64)
