"""The maximum spanning forest of a dense graph: the twin of spanning_forest.hpp."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.pair_codes import pair_of
from tallydraw._numba.parallel import allocating_kernel


@allocating_kernel
def _spanning_forest(gain, root, parents):
    """Of each vertex outside, in any order: the best arc from the forest, which is to its parent so far, its gain."""
    d = len(parents)
    outside, arc, best = np.empty(d, np.int64), np.empty(d, np.int64), np.empty(d)
    n = 0
    for u in range(d):
        parents[u] = -1
        if u != root:
            outside[n], arc[n], best[n] = u, -1, -np.inf
            n += 1
    v = root
    while n > 0:
        k = 0
        for i in range(n):
            u = outside[i]
            p = pair_of(min(u, v), max(u, v), d)
            if gain[p] > best[i] or (gain[p] == best[i] and p < arc[i]):
                best[i], arc[i] = gain[p], p
                parents[u] = v
            first = arc[i] < arc[k] if arc[i] >= 0 else u < outside[k]
            if best[i] > best[k] or (best[i] == best[k] and first):
                k = i
        v = outside[k]
        n -= 1
        outside[k], arc[k], best[k] = outside[n], arc[n], best[n]


def spanning_forest(gain: NDArray[np.float64], root: int, parents: NDArray[np.int64]) -> None:
    _spanning_forest(gain, root, parents)
