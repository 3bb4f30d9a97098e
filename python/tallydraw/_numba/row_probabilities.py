"""Estimates of table rows: the twin of row_probabilities.hpp."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.parallel import kernel
from tallydraw._structure import Structure


@kernel
def _row_probabilities(n_classes, n_categories, n_contexts, weights, more, most, whole, theta):
    """Whether every row is one that divides; `most` bounds the sum of a row of `whole` numbers, or one weight."""
    good = True
    at = 0
    for j in range(len(n_categories)):
        c = n_categories[j]
        limit = most // c if whole else most
        for _ in range(n_classes * n_contexts[j]):
            end = at + c
            in_range, empty = more <= limit, True
            for b in range(at, end):
                in_range = in_range and weights[b] >= 0 and weights[b] <= limit - more
            if in_range:
                total = more - more
                for b in range(at, end):
                    weights[b] += more
                    empty = empty and weights[b] == 0
                for b in range(at, end):
                    if empty:
                        weights[b] = 1
                    total += weights[b]
                good = good and total <= most
                for b in range(at, end):
                    theta[b] = weights[b] / total
            good = good and in_range
            at = end
    return good


def row_probabilities(structure: Structure, weights: NDArray[Any], more: float, theta: NDArray[np.float64]) -> bool:
    s, whole = structure, weights.dtype.kind == "i"
    most = np.int64(2**62) if whole else np.finfo(np.float64).max
    rows = (s.n_classes, s.n_categories, s.n_contexts)
    return bool(_row_probabilities(*rows, weights, weights.dtype.type(more), most, whole, theta))
