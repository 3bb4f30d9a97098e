"""Information between all pairs of features, from their contingency tables; every sum runs from left to right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw import backend
from tallydraw._divergence_terms import log_probability
from tallydraw.pairs import PairTables

Floats = NDArray[np.float64]

_BLOCK_ROWS = 1 << 6
_BLOCK_CELLS = 1 << 14  # that fit into the cache with what is computed of them; Python hears Ctrl-C in between
_CELL_WORK = 16  # of a cell and its logarithm, in draws


def pair_information(
    pairs: PairTables,
    *,
    pseudocounts: Floats | None = None,
    seen: Floats | None = None,
    out: Floats | None = None,
    n_threads: int | None = None,
) -> Floats:
    """I(i; j) of every pair i < j in lexicographic order, given the class where there is one; -inf if never seen.

    `pseudocounts` (d,): in each cell of a pair is the lesser of its two features' more. `seen`, one a pair, gets the
    rows, or weight, in which both features are seen.
    """
    d, sizes = len(pairs), pairs.n_categories
    information = np.empty(d * (d - 1) // 2) if out is None else out
    by_size = np.argsort(sizes, kind="stable").astype(np.int64, copy=False)
    more = np.zeros(d) if pseudocounts is None else pseudocounts
    structure, begins, kernels = pairs.marginals.structure, pairs._told_begins, backend.kernels()
    cells = len(pairs.values) // max(1, d) + 1  # of a feature
    for a, b in backend.blocks(d, _CELL_WORK * cells):
        team = backend.threads(n_threads, 2 * (b - a) * cells)
        kernels.pair_information(structure, begins, pairs.values, by_size, more, a, b, information, seen, team)
    return information


def mutual_information(pairs: PairTables, n_threads: int | None = None) -> Floats:
    """(d, d) I(i; j), given the class where there is one; the diagonal is the entropy of each feature."""
    d, k = len(pairs), pairs.n_classes or 1
    out = np.empty((d, d))
    # Pairs in order at the end of the matrix: from row 0 on, no row is written over what later ones are read from.
    flat = out.reshape(-1)[d * (d + 1) // 2 :]
    pair_information(pairs, out=flat, n_threads=n_threads)
    np.maximum(flat, 0.0, out=flat)
    begin = 0
    for i, row in enumerate(out, 1):
        row[i:] = flat[begin : begin + d - i]
        begin += d - i
    for a in range(0, d, _BLOCK_ROWS):
        b = min(a + _BLOCK_ROWS, d)
        out[b:, a:b] = out[a:b, b:].T
        block = out[a:b, a:b]
        np.copyto(block, block.T, where=np.tri(b - a, k=-1, dtype=np.bool_))
    for c in np.unique(pairs.n_categories).tolist():
        same = np.flatnonzero(pairs.n_categories == c)
        counts = pairs.marginals.values[pairs.marginals.offsets[same] + np.arange(k * c)[:, None]]
        p = _probabilities(counts.reshape(k, 1, c, -1))
        out[same, same] = _sum(_remaining(p, _over(p, 2)).reshape(k * c, -1))
    return out


def conditional_entropy(pairs: PairTables) -> Floats:
    """(d, d) H(i | j), given the class where there is one."""
    out = np.zeros((len(pairs), len(pairs)))
    for i, j, counts in _alike(pairs):
        p = _probabilities(counts)
        out[i, j] = _sum(_remaining(p, _over(p, 1)).reshape(-1, len(i)))
        out[j, i] = _sum(_remaining(p, _over(p, 2)).reshape(-1, len(i)))
    return out


def _alike(pairs: PairTables) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]]:
    """Features i < j of some pairs whose tables have one shape, and their counts (K, C_i, C_j, m), pairs innermost."""
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
