"""The maximum spanning forest of the pairs of features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tallydraw import backend
from tallydraw._pair_information import pair_information
from tallydraw.pairs import PairTables

_MOST_BOUNDED = 1 << 12  # features whose pairs' bounds are kept, 4 bytes each way, in one call


def spanning_forest(gain: NDArray[np.float64], d: int, root: int = 0) -> NDArray[np.int64]:
    """(d,) read-only parents of the maximum spanning forest; `gain` of every pair i < j in order, -inf is no arc.

    Of arcs of equal gain the one that comes first is taken: so there is one forest. The tree with `root` is rooted
    there, each other one at its least vertex.
    """
    parents = np.empty(d, np.int64)
    backend.kernels().spanning_forest(gain, root, parents)
    return _read_only(parents)


def information_forest(
    pairs: PairTables, root: int = 0, *, pseudocounts: NDArray[np.float64] | None = None, n_threads: int | None = None
) -> NDArray[np.int64]:
    """The same of the information of the pairs, most of which need not be known where features are binary."""
    d = len(pairs)
    if d > _MOST_BOUNDED or pairs.n_classes is not None or not pairs._binary:
        return spanning_forest(pair_information(pairs, pseudocounts=pseudocounts, n_threads=n_threads), d, root)
    more = np.zeros(d) if pseudocounts is None else pseudocounts
    parents = np.empty(d, np.int64)
    team = backend.threads(n_threads, 2 * d * d)
    backend.kernels().information_forest(pairs.marginals.structure, pairs.values, more, root, parents, team)
    return _read_only(parents)


def _read_only(parents: NDArray[np.int64]) -> NDArray[np.int64]:
    parents.flags.writeable = False
    view: NDArray[np.int64] = parents.view()  # which nobody can make writable again
    return view
