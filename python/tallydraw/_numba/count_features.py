"""Counts of features, with class, context and weights: the twin of count_features.hpp."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.codes import canonical, named
from tallydraw._numba.parallel import first_index, inline, kernel, parallel_blocks
from tallydraw._structure import Structure

# Cells up to which a thread that owns rows has tables of its own.
_PRIVATE_CELLS = 1 << 17
# Cells of the tables that are counted into at a time, where threads own features.
_TILE_CELLS = 1 << 15
# Up to so many categories eight are counted in the bytes of one word; at most so many words.
_FEW, _WORDS = 16, 1 << 20
_0, _3, _7, _8, _63, _255 = (np.uint64(i) for i in (0, 3, 7, 8, 63, 255))


@inline
def _with_context(x, r, j, z, missing, n_categories, context_begin, context):
    """Combined code of the known cell z at (r, j), and whether a cell of its context is missing."""
    code = _0
    for i in range(context_begin[j], context_begin[j + 1]):
        f = context[i]
        c = np.uint64(x[r, f])
        if c >= np.uint64(n_categories[f]) or c == missing:
            return _0, True
        code = code * np.uint64(n_categories[f]) + c
    return code * np.uint64(n_categories[j]) + z, False


@kernel
def _count(
    x, y, has_y, missing, lenient, f0, f1,
    n_classes, n_categories, n_contexts, offsets, context_begin, context, weights, tables,
):  # fmt: skip
    """Adds weights[r] for features f0 to f1 - 1 of every row r, each cell in row order. Returns the first cell that is
    no category, or -1. As unsigned numbers negative codes lie above all others.
    """
    n, d = x.shape
    has_contexts = context_begin[f0] < context_begin[f1]
    begin = np.empty((n_classes, f1 - f0), np.uint64)  # of the tables of a class
    for k in range(n_classes):
        for j in range(f0, f1):
            begin[k, j - f0] = offsets[j] + k * n_contexts[j] * n_categories[j]
    limit = n_categories.astype(np.uint64)
    first, width = np.uint64(f0), np.uint64(f1 - f0)
    for r in range(n):
        k = y[r] if has_y else np.int64(0)
        weight = weights[r]
        for i in range(width):
            j = first + i
            z = np.uint64(x[r, j])  # never a view of a row: it would be counted in and out for every cell
            if z >= limit[j] or z == missing:
                if z != missing and np.int64(z) >= 0 and not lenient:
                    return r * d + np.int64(j)
                continue
            if has_contexts:
                z, gone = _with_context(x, r, np.int64(j), z, missing, n_categories, context_begin, context)
                if gone:
                    continue
            tables[begin[k, i] + z] += weight
    return -1


@inline
def _flush(words, k, n_categories, offsets, counts):
    """Adds what the words of class k have counted, and clears them."""
    for j in range(n_categories.shape[0]):
        for c in range(n_categories[j]):
            word = words[k, c >> 3, j] >> np.uint64((c & 7) << 3)
            counts[offsets[j] + k * n_categories[j] + c] += np.int64(word & _255)
    words[k] = 0


@kernel
def _count_few(x, y, has_y, missing, lenient, n_classes, n_categories, offsets, last, counts):
    """The same for ones, without contexts, where no feature has more than _FEW categories; last[j] is its last one, in
    the type of x. Eight categories of a feature are counted in the bytes of a word, until one could overflow.
    """
    n, d = x.shape
    parts = (np.int64(last.max()) >> 3) + 1
    words = np.zeros((n_classes, parts, d), np.uint64)
    rows = np.zeros(n_classes, np.int64)
    for r in range(n):
        k = y[r] if has_y else np.int64(0)
        strange = _0
        for part in range(parts):
            first = np.uint64(part) << _3
            for j in range(d):
                z = np.uint64(x[r, j])
                over = np.uint64(x[r, j] > last[j])
                gone = np.uint64(z == missing)
                strange |= over & ~gone & ~(z >> _63)  # negative codes are missing
                one = ~over & ~gone & np.uint64(z - first < _8)
                words[k, part, j] += one << ((z & _7) << _3)
        if strange != _0 and not lenient:
            for j in range(d):
                if x[r, j] > last[j] and np.uint64(x[r, j]) != missing and np.int64(x[r, j]) >= 0:
                    return r * d + j
        rows[k] += 1
        if rows[k] == 255:
            _flush(words, k, n_categories, offsets, counts)
            rows[k] = 0
    for k in range(n_classes):
        if rows[k] > 0:
            _flush(words, k, n_categories, offsets, counts)
    return -1


def count_features(
    X: NDArray[Any],
    y: NDArray[np.int64] | None,
    missing: int | None,
    unseen_is_missing: bool,
    structure: Structure,
    counts: NDArray[np.int64],
    threads: int,
) -> int:
    s, x = structure, canonical(X, missing)
    n, d = x.shape
    most = int(s.n_categories.max())
    words = s.n_classes * d * -(-most // 8)
    few = most <= _FEW and not len(s.context) and s.n_classes * most <= n and words <= _WORDS
    rows_are_owned = few or counts.size <= _PRIVATE_CELLS
    width = d if few else _features_of_a_tile(counts.size, d)
    classes = s.n_categories if y is None else y
    rules = (named(missing), unseen_is_missing)
    shape = (s.n_categories, s.n_contexts, s.offsets, s.context_begin, s.context)
    last = (s.n_categories - 1).astype(x.dtype) if few else s.n_categories
    ones = np.broadcast_to(np.int64(1), n)

    def add(a: int, b: int, f0: int, f1: int, tables: NDArray[np.int64]) -> int:
        rows = (x[a:b], classes if y is None else classes[a:b], y is not None)
        if few:
            bad = _count_few(*rows, *rules, s.n_classes, s.n_categories, s.offsets, last, tables)
        else:
            bad = _count(*rows, *rules, f0, f1, s.n_classes, *shape, ones[a:b], tables)
        return bad + a * d if bad >= 0 else -1

    def rows(a: int, b: int, _: int) -> tuple[int, NDArray[np.int64]]:
        own = np.zeros(counts.size, np.int64) if threads > 1 else counts
        return first_index([add(a, b, f0, min(d, f0 + width), own) for f0 in range(0, d, width)]), own

    def features(f0: int, f1: int, _: int) -> int:
        return add(0, n, f0, f1, counts)

    if not rows_are_owned:
        return first_index(parallel_blocks(d, max(1, min(width, -(-d // threads))), threads, features))
    found = parallel_blocks(n, max(1, -(-n // threads)), threads, rows)
    for _, own in found:
        if own is not counts:
            counts += own
    return first_index([bad for bad, _ in found])


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
    s, x = structure, canonical(X, missing)
    d = x.shape[1]
    rows = (x, s.n_categories if y is None else y, y is not None, named(missing), unseen_is_missing)
    shape = (s.n_categories, s.n_contexts, s.offsets, s.context_begin, s.context)

    def features(f0: int, f1: int, _: int) -> int:
        return int(_count(*rows, f0, f1, s.n_classes, *shape, weights, counts))

    width = min(_features_of_a_tile(counts.size, d), -(-d // threads))
    return first_index(parallel_blocks(d, width, threads, features))


def _features_of_a_tile(cells: int, d: int) -> int:
    """So many that their tables stay in cache."""
    return max(1, d * _TILE_CELLS // max(1, cells))
