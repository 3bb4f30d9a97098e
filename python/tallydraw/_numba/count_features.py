"""Counts of features, with class, context and weights: the twin of count_features.hpp."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.parallel import first_index, inline, kernel, parallel_blocks
from tallydraw._structure import Structure

# Cells up to which a thread that owns rows has tables of its own.
_PRIVATE_CELLS = 1 << 17


@inline
def _with_context(x, r, j, z, missing, has_missing, n_categories, context_begin, context):
    """Combined code of the known cell z at (r, j): -1 where a cell of its context is missing."""
    code = 0
    for i in range(context_begin[j], context_begin[j + 1]):
        f = context[i]
        c = np.int64(x[r, f])
        if c < 0 or c >= n_categories[f] or (has_missing and c == missing):
            return -1
        code = code * n_categories[f] + c
    return code * n_categories[j] + z


@kernel
def _count(
    x,
    y,
    has_y,
    f0,
    f1,
    missing,
    has_missing,
    lenient,
    n_categories,
    n_contexts,
    offsets,
    context_begin,
    context,
    counts,
):
    """Adds features f0 to f1 - 1 of every row; returns the first cell that is no category, or -1."""
    n, d = x.shape
    for r in range(n):
        k = y[r] if has_y else 0
        for j in range(f0, f1):
            z = np.int64(x[r, j])  # never a view of a row: it would be counted in and out for every cell
            if z < 0 or (has_missing and z == missing):
                continue
            if z >= n_categories[j]:
                if lenient:
                    continue
                return r * d + j
            if context_begin[j] < context_begin[j + 1]:
                z = _with_context(x, r, j, z, missing, has_missing, n_categories, context_begin, context)
                if z < 0:
                    continue
            counts[offsets[j] + k * n_contexts[j] * n_categories[j] + z] += 1
    return -1


@kernel
def _count_weighted(
    x,
    y,
    has_y,
    f0,
    f1,
    missing,
    has_missing,
    lenient,
    n_categories,
    n_contexts,
    offsets,
    context_begin,
    context,
    w,
    sums,
):
    """The same with weights: every cell adds its weights in row order."""
    n, d = x.shape
    for r in range(n):
        k = y[r] if has_y else 0
        for j in range(f0, f1):
            z = np.int64(x[r, j])  # never a view of a row: it would be counted in and out for every cell
            if z < 0 or (has_missing and z == missing):
                continue
            if z >= n_categories[j]:
                if lenient:
                    continue
                return r * d + j
            if context_begin[j] < context_begin[j + 1]:
                z = _with_context(x, r, j, z, missing, has_missing, n_categories, context_begin, context)
                if z < 0:
                    continue
            sums[offsets[j] + k * n_contexts[j] * n_categories[j] + z] += w[r]
    return -1


def canonical(x: NDArray[Any]) -> NDArray[Any]:
    """(n, d) C-contiguous codes as uint8 where they are, else int64: few types to compile for. Copies one block."""
    x = x.reshape(len(x), -1)
    if x.dtype == np.uint64 and x.size and int(x.max()) > 2**63 - 1:
        x = np.minimum(x, np.uint64(2**63 - 1))  # stays no category
    return np.ascontiguousarray(x, dtype=np.uint8 if x.dtype == np.uint8 else np.int64)


def count_features(
    X: NDArray[Any],
    y: NDArray[np.int64] | None,
    missing: int | None,
    unseen_is_missing: bool,
    structure: Structure,
    counts: NDArray[np.int64],
    threads: int,
) -> int:
    x = canonical(X)
    n, d = x.shape
    shape = (
        structure.n_categories,
        structure.n_contexts,
        structure.offsets,
        structure.context_begin,
        structure.context,
    )
    rules = (-1 if missing is None else missing, missing is not None, unseen_is_missing)

    if counts.size <= _PRIVATE_CELLS and threads > 1:  # threads own rows

        def rows(a: int, b: int, _: int) -> tuple[int, NDArray[np.int64]]:
            own = np.zeros(counts.size, np.int64)
            part = structure.n_categories if y is None else y[a:b]
            bad = _count(x[a:b], part, y is not None, 0, d, *rules, *shape, own)
            return (bad + a * d if bad >= 0 else -1), own

        found = parallel_blocks(n, -(-n // threads), threads, rows)
        for _, own in found:
            counts += own
        return first_index([bad for bad, _ in found])

    def features(f0: int, f1: int, _: int) -> int:  # threads own features
        return int(_count(x, structure.n_categories if y is None else y, y is not None, f0, f1, *rules, *shape, counts))

    return first_index(parallel_blocks(d, _grain(counts.size, d, threads), threads, features))


def count_features_weighted(
    X: NDArray[Any],
    y: NDArray[np.int64] | None,
    missing: int | None,
    unseen_is_missing: bool,
    structure: Structure,
    weights: NDArray[np.float64],
    counts: NDArray[np.float64],
    threads: int,
) -> int:
    x = canonical(X)
    d = x.shape[1]
    shape = (
        structure.n_categories,
        structure.n_contexts,
        structure.offsets,
        structure.context_begin,
        structure.context,
    )
    rules = (-1 if missing is None else missing, missing is not None, unseen_is_missing)
    classes = structure.n_categories if y is None else y

    def features(f0: int, f1: int, _: int) -> int:
        return int(_count_weighted(x, classes, y is not None, f0, f1, *rules, *shape, weights, counts))

    return first_index(parallel_blocks(d, _grain(counts.size, d, threads), threads, features))


def _grain(cells: int, d: int, threads: int) -> int:
    """Features a piece: their tables stay in cache, and every thread has some."""
    fit = max(1, d * (1 << 15) // max(1, cells))
    return max(1, min(fit, -(-d // threads)))
