"""The forest of the greatest information: the twin of information_forest.hpp, without bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.pair_information import pair_information
from tallydraw._numba.spanning_forest import spanning_forest
from tallydraw._structure import Structure


def information_forest(
    structure: Structure,
    counts: NDArray[Any],
    pseudocounts: NDArray[np.float64],
    root: int,
    parents: NDArray[np.int64],
    threads: int,
) -> None:
    d = len(parents)
    information = np.empty(d * (d - 1) // 2)
    offsets, by_size = np.arange(0, len(counts) + 1, 4), np.arange(d)
    pair_information(structure, offsets, counts, by_size, pseudocounts, 0, d, information, None, threads)
    spanning_forest(information, root, parents)
