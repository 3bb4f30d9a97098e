"""The maximum spanning forest of the pairs of features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tallydraw import backend


def spanning_forest(gain: NDArray[np.float64], d: int, root: int = 0) -> NDArray[np.int64]:
    """(d,) read-only parents of the maximum spanning forest; `gain` of every pair i < j in order, -inf is no arc.

    Of arcs of equal gain the one that comes first is taken: so there is one forest. The tree with `root` is rooted
    there, each other one at its least vertex.
    """
    parents = np.empty(d, np.int64)
    backend.kernels().spanning_forest(gain, root, parents)
    parents.flags.writeable = False
    view: NDArray[np.int64] = parents.view()  # which nobody can make writable again
    return view
