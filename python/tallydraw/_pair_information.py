"""Information between all pairs of features, from their contingency tables.

Tables of one shape are taken together, pairs innermost, (K, A, B, m), so that a sum over cells is a sum of long rows.
Every sum runs from left to right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._divergence_terms import divergence_terms, log_probability
from tallydraw.pairs import PairTables

Floats = NDArray[np.float64]

_BLOCK_CELLS = 1 << 14  # that fit into the cache with what is computed of them; Python hears Ctrl-C in between


def mutual_information(pairs: PairTables) -> Floats:
    """(d, d) I(i; j), given the class where there is one; the diagonal is the entropy of each feature."""
    return _matrix(pairs, lambda p: (_mutual(p, pairs.n_classes is not None),) * 2, diagonal=True)


def conditional_entropy(pairs: PairTables) -> Floats:
    """(d, d) H(i | j), given the class where there is one."""
    return _matrix(pairs, lambda p: (_remaining(p, _over(p, 1)), _remaining(p, _over(p, 2))), diagonal=False)


def seen_together(pairs: PairTables) -> Floats:
    """(d, d) rows, or weight, in which both features are seen; the diagonal is zero."""
    out = np.zeros((len(pairs), len(pairs)))
    for i, j, counts in _alike(pairs):
        out[i, j] = out[j, i] = _sum(counts.reshape(-1, len(i)).astype(np.float64))
    return out


def _matrix(pairs: PairTables, terms: Callable[[Floats], tuple[Floats, Floats]], *, diagonal: bool) -> Floats:
    """Fills [i, j] and [j, i] with sums of the two terms of the joint probabilities of i < j."""
    d = len(pairs)
    out = np.zeros((d, d))
    for i, j, counts in _alike(pairs):
        p = _probabilities(counts)
        above, below = terms(p)
        out[i, j] = _sum(above.reshape(-1, len(i)))
        out[j, i] = out[i, j] if below is above else _sum(below.reshape(-1, len(i)))
    if diagonal:
        k = pairs.n_classes or 1
        for c in np.unique(pairs.n_categories).tolist():
            same = np.flatnonzero(pairs.n_categories == c)
            counts = pairs.marginals.values[pairs.marginals.offsets[same] + np.arange(k * c)[:, None]]
            p = _probabilities(counts.reshape(k, 1, c, -1))
            out[same, same] = _sum(_remaining(p, _over(p, 2)).reshape(k * c, -1))
    return out


def _alike(pairs: PairTables) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]]:
    """Features i < j of some pairs whose tables have one shape, and their counts (K, C_i, C_j, m)."""
    d, k = len(pairs), pairs.n_classes or 1
    sizes, shape_of = np.unique(pairs.n_categories, return_inverse=True)
    first, second = np.triu_indices(d, 1)
    shape = shape_of[first] * len(sizes) + shape_of[second]
    whole = len(sizes) == 1
    for number in [0] if whole else np.unique(shape).tolist():
        a, b = (int(sizes[index]) for index in divmod(number, len(sizes)))
        cells = k * a * b
        i, j, begin = first, second, pairs.offsets[:-1]
        if not whole:
            chosen = np.flatnonzero(shape == number)
            i, j, begin = i[chosen], j[chosen], begin[chosen]
        step = max(1, _BLOCK_CELLS // cells)
        for at in range(0, len(i), step):
            block = slice(at, at + step)
            if whole:
                counts = np.ascontiguousarray(pairs.values[at * cells : (at + step) * cells].reshape(-1, cells).T)
            else:
                counts = pairs.values[begin[block] + np.arange(cells)[:, None]]
            yield i[block], j[block], counts.reshape(k, a, b, -1)


def _probabilities(counts: NDArray[Any]) -> Floats:
    """Counts divided by the sum of their pair; zeros where nothing was seen."""
    cells: Floats = counts.astype(np.float64)
    total = _sum(cells.reshape(-1, cells.shape[-1]))
    cells /= np.where(total > 0, total, 1.0)
    return cells


def _mutual(p: Floats, classes: bool) -> Floats:
    """Terms of KL(p(a, b, y), p(a, y) p(b, y) / p(y))."""
    a, b = _over(p, 2), _over(p, 1)
    product, logs = a * b, log_probability(a) + log_probability(b)
    if classes:
        of_class = _over(a, 1)
        seen = of_class > 0
        product /= np.where(seen, of_class, 1.0)
        logs = np.where(seen, logs - np.where(seen, log_probability(of_class), 0.0), logs)
    return divergence_terms(p, product, logs)


def _remaining(p: Floats, given: Floats) -> Floats:
    """Terms -p(a, b) log(p(a, b) / p(b))."""
    surprise = np.where(p > 0, log_probability(given), 0.0) - np.where(p > 0, log_probability(p), 0.0)
    terms: Floats = p * np.maximum(surprise, 0.0)  # p(a, b) <= p(b)
    return terms


def _over(x: Floats, axis: int) -> Floats:
    """Sums over an axis, which is kept; from left to right."""
    return _sum(np.moveaxis(x, axis, 0)).reshape([1 if a == axis else n for a, n in enumerate(x.shape)])


def _sum(x: Floats) -> Floats:
    """Sums over the first axis, from left to right: of long rows, or of few columns."""
    if x[0].size < len(x):
        last: Floats = np.cumsum(x, axis=0)[-1]
        return last
    total: Floats = x[0].copy()
    for row in x[1:]:
        total += row
    return total
