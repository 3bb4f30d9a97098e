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
    parent = np.full(d, -1, np.int64)
    arc = np.zeros(d, np.int64)  # the place among all pairs of the best arc from the forest to each vertex
    best = np.full(d, -np.inf)  # its gain; inf within the forest
    offer = np.full(d, -np.inf)  # the same; -inf within the forest
    outside = np.ones(d, np.bool_)
    v = root
    while True:
        outside[v] = False
        best[v], offer[v] = np.inf, -np.inf
        row = gain[v]
        better = np.flatnonzero(row > best)
        equal = np.flatnonzero((row == best) & (row > -np.inf))
        if len(equal):
            better = np.concatenate([better, equal[_place(v, equal, d) < arc[equal]]])
        best[better] = offer[better] = row[better]
        arc[better] = _place(v, better, d)
        parent[better] = v
        most = offer.max()
        if most > -np.inf:
            first = np.flatnonzero(offer == most)
            v = int(first[0] if len(first) == 1 else first[arc[first].argmin()])
        elif outside.any():
            v = int(outside.argmax())
        else:
            return parent


def _place(v: int, others: NDArray[np.int64], d: int) -> NDArray[np.int64]:
    """Where the pairs of v and others stand in lexicographic order."""
    places: NDArray[np.int64] = np.minimum(v, others) * d + np.maximum(v, others)
    return places
